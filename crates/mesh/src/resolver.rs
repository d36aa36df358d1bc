//! The addresses of a host name, as the machine's resolver knows them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;

/// Deadline for the answer to one question.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Host names and their addresses, which stand in for the machine's resolver in tests.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// The answer to a question: all addresses of the name, or the reason why there are none.
pub type Answer = Result<Vec<IpAddr>, String>;

/// Asks for all addresses of a host name: of the table `hosts` if there is one, or else of the machine's resolver.
pub async fn addresses(host: String, hosts: Option<watch::Receiver<Hosts>>) -> Answer {
    if let Some(hosts) = hosts {
        return hosts
            .borrow()
            .get(&host)
            .cloned()
            .ok_or_else(|| "no such name".to_owned());
    }
    // The port is part of the call, not of the question.
    match tokio::time::timeout(ANSWER_MAX, tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip().to_canonical()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the resolver gave no answer in {} s", ANSWER_MAX.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_machine_knows_itself_by_name() {
        let found = addresses("localhost".to_owned(), None).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error_in_words() {
        // RFC 6761 keeps `invalid` free of names.
        let error = addresses("qres.invalid".to_owned(), None).await.unwrap_err();
        assert!(!error.is_empty());
    }
}
