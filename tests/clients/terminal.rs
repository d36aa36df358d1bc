//! The real `qres` with a node whose answers contain texts that a terminal would obey.

use std::process::Command;

use qres_api::pb::model_service_server::{ModelService, ModelServiceServer};
use qres_api::{is_printable, pb};
use qres_tests::binaries;
use tonic::{Request, Response, Status, async_trait};

/// Text that a terminal would obey. It clears the screen, changes the colour (with a C1 control), goes back to the start of the
/// line, begins a line, turns the direction of writing, and has a character without width.
const HOSTILE: &str = "m\u{1b}[2J\u{9b}31m\r\nforged\u{202e}x\u{2028}\u{200b}";

struct Hostile;

fn model() -> pb::Model {
    pb::Model {
        name: HOSTILE.into(),
        id: HOSTILE.into(),
        creator: HOSTILE.into(),
        succeeds: HOSTILE.into(),
        members: vec![HOSTILE.into()],
        warnings: vec![HOSTILE.into()],
        strategy: Some(pb::Rule {
            id: HOSTILE.into(),
            params: [(HOSTILE.to_owned(), 0.5)].into(),
        }),
        trainer_config: [(HOSTILE.to_owned(), 0.5)].into(),
        tensor_count: 2,
        tensors: vec![tensor()],
        ..Default::default()
    }
}

fn tensor() -> pb::TensorSpec {
    pb::TensorSpec {
        name: HOSTILE.into(),
        dtype: HOSTILE.into(),
        shape: vec![1],
        ..Default::default()
    }
}

#[async_trait]
impl ModelService for Hostile {
    type WatchModelsStream = tokio_stream::Once<Result<pb::WatchModelsResponse, Status>>;

    async fn create_model(
        &self,
        _: Request<tonic::Streaming<pb::CreateModelRequest>>,
    ) -> Result<Response<pb::CreateModelResponse>, Status> {
        Err(Status::unimplemented(HOSTILE))
    }

    async fn join_model(&self, _: Request<pb::JoinModelRequest>) -> Result<Response<pb::JoinModelResponse>, Status> {
        Err(Status::failed_precondition(HOSTILE))
    }

    async fn leave_model(&self, _: Request<pb::LeaveModelRequest>) -> Result<Response<pb::LeaveModelResponse>, Status> {
        Ok(Response::new(pb::LeaveModelResponse {}))
    }

    async fn change_members(
        &self,
        _: Request<pb::ChangeMembersRequest>,
    ) -> Result<Response<pb::ChangeMembersResponse>, Status> {
        let model = Some(model());
        Ok(Response::new(pb::ChangeMembersResponse { model }))
    }

    async fn accept_members(
        &self,
        _: Request<pb::AcceptMembersRequest>,
    ) -> Result<Response<pb::AcceptMembersResponse>, Status> {
        Err(Status::failed_precondition(HOSTILE))
    }

    async fn withdraw_members(
        &self,
        _: Request<pb::WithdrawMembersRequest>,
    ) -> Result<Response<pb::WithdrawMembersResponse>, Status> {
        Err(Status::unimplemented(HOSTILE))
    }

    async fn get_model(&self, _: Request<pb::GetModelRequest>) -> Result<Response<pb::GetModelResponse>, Status> {
        let model = Some(model());
        Ok(Response::new(pb::GetModelResponse { model }))
    }

    async fn list_tensors(
        &self,
        _: Request<pb::ListTensorsRequest>,
    ) -> Result<Response<pb::ListTensorsResponse>, Status> {
        Ok(Response::new(pb::ListTensorsResponse {
            tensors: vec![tensor()],
            next_page_token: HOSTILE.into(),
        }))
    }

    async fn list_models(&self, _: Request<pb::ListModelsRequest>) -> Result<Response<pb::ListModelsResponse>, Status> {
        Ok(Response::new(pb::ListModelsResponse {
            models: vec![model()],
            next_page_token: String::new(),
        }))
    }

    async fn watch_models(
        &self,
        _: Request<pb::WatchModelsRequest>,
    ) -> Result<Response<Self::WatchModelsStream>, Status> {
        let message = pb::WatchModelsResponse {
            revision: 1,
            model: Some(model()),
            ..Default::default()
        };
        Ok(Response::new(tokio_stream::once(Ok(message))))
    }
}

async fn start() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(ModelServiceServer::new(Hostile));
    tokio::spawn(async move { server.serve_with_incoming(incoming).await });
    address
}

/// Runs `qres`, and returns its stdout and its stderr.
async fn said(address: &str, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(binaries::cli());
    command.args(["--addr", address, "--timeout", "20s"]).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").expect("qres runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_terminal_obeys_is_printed() {
    let address = start().await;
    for (arguments, lines) in [
        (&["model", "list"][..], 2),
        (&["model", "list", "--json"], 1),
        (&["model", "show", "m"], 14),
        (&["model", "show", "m", "--json"], 1),
        (&["model", "join", "m"], 0),
        (&["model", "join", "m", "--json"], 0),
    ] {
        let (out, err) = said(&address, arguments).await;
        for text in [&out, &err] {
            assert!(
                text.chars().all(|c| c == '\n' || is_printable(c)),
                "{arguments:?}: {text:?}"
            );
            assert!(
                !text.lines().any(|line| line.starts_with("forged")),
                "{arguments:?}: {text}"
            );
        }
        assert_eq!(out.lines().count(), lines, "{arguments:?}: {out}{err}");
        let all = out + &err;
        assert!(all.contains("m\\u001b[2J\\u009b31m"), "{arguments:?} shows it: {all}");
        assert!(
            all.contains("forged\\u202ex\\u2028\\u200b"),
            "{arguments:?} shows it: {all}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn escaped_json_is_the_same_json() {
    let address = start().await;
    let (out, _) = said(&address, &["model", "show", "m", "--json"]).await;
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(value["model"]["name"], HOSTILE);
    assert_eq!(value["model"]["tensors"][0]["name"], HOSTILE);
}
