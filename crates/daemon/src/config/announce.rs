//! Templates for announced addresses: in a StatefulSet every pod gets the same text, and fills its own values in.

use super::Environment;

/// Replaces each `$(NAME)` by the environment variable of that name. `$(ORDINAL)` is the number at the end of the host's
/// name (`HOSTNAME`), by which a StatefulSet numbers its pods, unless a variable `ORDINAL` is set; `$(ORDINAL+31400)` is the
/// sum, for pods that have a port each. Returns an error text if a `$(` is not closed or a variable is missing.
pub fn expand(template: &str, env: &Environment) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("$(") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        let end = after
            .find(')')
            .ok_or_else(|| format!("{template:?} opens a $( that is not closed"))?;
        let name = &after[..end];
        filled.push_str(before);
        filled.push_str(&value(name, env).ok_or_else(|| {
            format!("{template:?} names $({name}), but the environment has no {name}: set it, or write the address out")
        })?);
        rest = &after[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(name: &str, env: &Environment) -> Option<String> {
    if let Some(value) = env.get(name) {
        return Some(value.clone());
    }
    if let Some((base, offset)) = name.split_once('+') {
        let sum = value(base, env)?
            .parse::<u32>()
            .ok()?
            .checked_add(offset.parse().ok()?)?;
        return Some(sum.to_string());
    }
    let ordinal = env.get("HOSTNAME")?.rsplit_once('-')?.1;
    let number = !ordinal.is_empty() && ordinal.bytes().all(|b| b.is_ascii_digit());
    (name == "ORDINAL" && number).then(|| ordinal.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_or_refused_by_name() {
        let env = Environment::from([
            ("POD_IP".into(), "10.1.2.3".into()),
            ("HOSTNAME".into(), "qres-2".into()),
        ]);
        assert_eq!(
            expand("/ip4/$(POD_IP)/tcp/4001", &env).unwrap(),
            "/ip4/10.1.2.3/tcp/4001"
        );
        assert_eq!(
            expand("/dns4/n$(ORDINAL).example/tcp/400$(ORDINAL)", &env).unwrap(),
            "/dns4/n2.example/tcp/4002"
        );
        assert_eq!(
            expand("/ip4/192.0.2.1/tcp/$(ORDINAL+31400)", &env).unwrap(),
            "/ip4/192.0.2.1/tcp/31402"
        );
        assert!(expand("/ip4/192.0.2.1/tcp/$(ORDINAL+x)", &env).is_err());
        assert_eq!(expand("/ip4/192.0.2.1/tcp/1", &env).unwrap(), "/ip4/192.0.2.1/tcp/1");
        assert!(
            expand("/ip4/$(NODE_IP)/tcp/1", &env)
                .unwrap_err()
                .contains("no NODE_IP")
        );
        assert!(expand("/ip4/$(POD_IP", &env).unwrap_err().contains("not closed"));
    }
}
