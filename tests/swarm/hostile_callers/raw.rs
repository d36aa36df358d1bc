//! A caller that speaks HTTP/2 by hand: it may stop anywhere in a call, and reads only as much as a test wants.

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use qres_tests::wait::DEADLINE;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::codegen::http::{Request, Response};

/// Flow-control window of a connection, in bytes: room for the first bytes of all answers.
const CONNECTION_WINDOW: u32 = 1 << 24;

/// A connection. Received data gives the server no room for more, unless the test releases it.
pub struct Raw {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A call with both of its directions.
pub struct Call {
    /// Future of the answer, a [`ResponseFuture`].
    pub answer: ResponseFuture,
    /// Stream of the caller's messages, a [`SendStream`].
    pub messages: SendStream<Bytes>,
}

impl Raw {
    /// Connects to a server, which may send `window` bytes of each answer at first.
    pub async fn connect(address: &str, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let (send, connection) = Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(stream)
            .await
            .expect("a greeting");
        Self {
            send,
            driver: tokio::spawn(connection),
        }
    }

    /// Begins a call of the method `path`, and sends no message yet.
    pub async fn begin(&mut self, path: &str) -> Call {
        self.try_begin(path).await.expect("an open connection")
    }

    /// Begins a call of the method `path`; `None` if the connection has ended.
    pub async fn try_begin(&mut self, path: &str) -> Option<Call> {
        let request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut send = self.send.clone().ready().await.ok()?;
        let (answer, messages) = send.send_request(request, false).ok()?;
        Some(Call { answer, messages })
    }

    /// Begins a call with one message, after which the request ends.
    pub async fn call(&mut self, path: &str, message: &impl Message) -> Call {
        let mut call = self.begin(path).await;
        call.send(message, true);
        call
    }

    /// Makes this many calls at once. Returns their statuses in ascending order (0 = an open answer), and the answers, which
    /// stay open.
    pub async fn statuses(&mut self, path: &str, message: &impl Message, calls: usize) -> (Vec<u32>, Vec<RecvStream>) {
        let mut begun = vec![];
        for _ in 0..calls {
            begun.push(self.call(path, message).await.answer);
        }
        let (mut statuses, mut open) = (vec![], vec![]);
        for answer in begun {
            let answer = within(answer).await.expect("an answer");
            statuses.push(status(&answer));
            open.push(answer.into_body());
        }
        statuses.sort_unstable();
        (statuses, open)
    }

    /// Waits until the other side closes the connection.
    pub async fn closed(self) {
        let _ = within(self.driver).await;
    }

    /// Returns true if the other side has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Call {
    /// Sends a message in a gRPC frame. If `end`, the request ends with it.
    pub fn send(&mut self, message: &impl Message, end: bool) {
        let message = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).expect("a small message").to_be_bytes());
        frame.extend_from_slice(&message);
        // If the other side has ended the stream, it takes no message.
        let _ = self.messages.send_data(frame.into(), end);
    }
}

/// Waits for a future, and panics after [`DEADLINE`].
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("waited too long")
}

/// Returns the gRPC status of an answer that consists of headers only; 0 if the answer has more.
pub fn status<T>(answer: &Response<T>) -> u32 {
    let status = answer.headers().get("grpc-status");
    status.map_or(0, |status| status.to_str().expect("text").parse().expect("a number"))
}
