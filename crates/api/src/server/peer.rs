//! Serves `qres.v1.PeerService`.

use std::time::Duration;

use qres_node::handle::WatchFilter;
use qres_node::view::Event;
use tonic::{Request, Response, Status};

use super::api::Api;
use super::status::status;
use super::watch::Watch;
use super::{audit, field, message, page};
use crate::pb;

/// Most bytes of an address: the longest multiaddress with a host name and a peer id has about 350.
const ADDRESS_BYTES_MAX: usize = 512;
/// Most bytes of the reason of a ban.
const REASON_BYTES_MAX: usize = 256;
/// Length of a ban if the request names none: an hour.
const BAN_DEFAULT: Duration = Duration::from_secs(3_600);
/// Greatest length of a ban: 365 days.
const BAN_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

fn ban_duration(duration_ms: Option<u64>) -> Result<Duration, Status> {
    let duration = duration_ms.map_or(BAN_DEFAULT, Duration::from_millis);
    if duration.is_zero() || duration > BAN_MAX {
        let problem = format!(
            "{} ms is outside 1 ms to 365 days ({} ms)",
            duration.as_millis(),
            BAN_MAX.as_millis()
        );
        return Err(field::invalid("duration_ms", problem));
    }
    Ok(duration)
}

fn event(event: Event) -> Option<pb::Peer> {
    match event {
        Event::Peer(view) => Some(message::peer(view)),
        Event::Model(_)
        | Event::ModelHeard(_)
        | Event::ModelLeft(..)
        | Event::Round(_)
        | Event::Submission(_)
        | Event::State(_) => None,
    }
}

#[tonic::async_trait]
impl pb::peer_service_server::PeerService for Api {
    async fn list_peers(
        &self,
        request: Request<pb::ListPeersRequest>,
    ) -> Result<Response<pb::ListPeersResponse>, Status> {
        let request = request.into_inner();
        let asked = page::request(request.page_size, request.page_token)?;
        let (peers, next_page_token) = page::fitting(asked, |page| self.node.peers(page), message::peer).await?;
        Ok(Response::new(pb::ListPeersResponse { peers, next_page_token }))
    }

    async fn get_peer(&self, request: Request<pb::GetPeerRequest>) -> Result<Response<pb::GetPeerResponse>, Status> {
        let peer = field::peer("peer", &request.into_inner().peer)?;
        let view = self.node.peer(&peer).await.map_err(status)?;
        let peer = Some(message::peer(view));
        Ok(Response::new(pb::GetPeerResponse { peer }))
    }

    type WatchPeersStream = Watch<pb::WatchPeersResponse>;

    async fn watch_peers(
        &self,
        request: Request<pb::WatchPeersRequest>,
    ) -> Result<Response<Self::WatchPeersStream>, Status> {
        let from = request.into_inner().from_revision;
        self.watch(WatchFilter::Peers, from, event, |item| pb::WatchPeersResponse {
            revision: item.revision,
            kind: item.kind,
            peer: item.resource,
        })
        .await
    }

    async fn dial_peer(&self, request: Request<pb::DialPeerRequest>) -> Result<Response<pb::DialPeerResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let address = field::text("address", request.address, ADDRESS_BYTES_MAX)?;
        audit::object(&extensions, &address);
        if address.is_empty() {
            return Err(field::invalid(
                "address",
                "missing: give an IP address, a host name or a multiaddress",
            ));
        }
        let dialling = async { self.node.dial(&address).await.map_err(status) };
        self.stop.or(dialling).await?;
        Ok(Response::new(pb::DialPeerResponse {}))
    }

    async fn ban_peer(&self, request: Request<pb::BanPeerRequest>) -> Result<Response<pb::BanPeerResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let peer = field::peer("peer", &request.peer)?;
        audit::object(&extensions, &request.peer);
        let reason = field::text("reason", request.reason, REASON_BYTES_MAX)?;
        let duration = ban_duration(request.duration_ms)?;
        let view = self.node.ban(&peer, &reason, duration).await.map_err(status)?;
        let peer = Some(message::peer(view));
        Ok(Response::new(pb::BanPeerResponse { peer }))
    }

    async fn unban_peer(
        &self,
        request: Request<pb::UnbanPeerRequest>,
    ) -> Result<Response<pb::UnbanPeerResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let peer = field::peer("peer", &request.peer)?;
        audit::object(&extensions, &request.peer);
        let view = self.node.unban(&peer).await.map_err(status)?;
        let peer = Some(message::peer(view));
        Ok(Response::new(pb::UnbanPeerResponse { peer }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_lasts_an_hour_unless_it_says_otherwise_within_a_year() {
        assert_eq!(ban_duration(None).unwrap(), BAN_DEFAULT);
        assert_eq!(ban_duration(Some(5)).unwrap(), Duration::from_millis(5));
        assert!(ban_duration(Some(0)).is_err());
        assert!(ban_duration(Some(u64::MAX)).is_err());
    }
}
