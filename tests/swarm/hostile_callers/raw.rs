//! A caller that speaks HTTP/2 by hand: it stops where it likes, and reads only what it wants.

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use qres_tests::wait::DEADLINE;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::codegen::http::{Request, Response};

/// Room for what all answers send at first.
const CONNECTION_WINDOW: u32 = 1 << 24;

/// A connection. What it receives makes no room for more unless somebody says so.
pub struct Raw {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A call: both of its directions.
pub struct Call {
    /// Its answer.
    pub answer: ResponseFuture,
    /// Where its messages go.
    pub messages: SendStream<Bytes>,
}

impl Raw {
    /// Takes so many bytes of each answer at first.
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

    /// Begins a call.
    pub async fn begin(&mut self, path: &str) -> Call {
        let request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut send = self.send.clone().ready().await.expect("an open connection");
        let (answer, messages) = send.send_request(request, false).expect("an open connection");
        Call { answer, messages }
    }

    /// A call of one message.
    pub async fn call(&mut self, path: &str, message: &impl Message) -> Call {
        let mut call = self.begin(path).await;
        call.send(message, true);
        call
    }

    /// How many of these calls at once are answered with each status; 0 = an open answer. The answers stay open.
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

    /// Until the other side closes it.
    pub async fn closed(self) {
        let _ = within(self.driver).await;
    }

    /// Whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Call {
    /// Sends a message.
    pub fn send(&mut self, message: &impl Message, end: bool) {
        let message = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).expect("a small message").to_be_bytes());
        frame.extend_from_slice(&message);
        // A stream that the other side has ended takes nothing.
        let _ = self.messages.send_data(frame.into(), end);
    }
}

/// Waits no longer than any test does.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("waited too long")
}

/// The status of an answer that has nothing else; 0 where there is more.
pub fn status<T>(answer: &Response<T>) -> u32 {
    let status = answer.headers().get("grpc-status");
    status.map_or(0, |status| status.to_str().expect("text").parse().expect("a number"))
}
