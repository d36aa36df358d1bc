//! GossipSub: its settings, the budgets of authors and carriers, and the queues of messages that wait.

mod author_limit;
mod budget;
mod carrier;
mod degree;
mod held;
mod retry_queue;
mod sent;
mod settings;
mod topic;

pub use author_limit::Authors;
pub use budget::Load;
pub use carrier::{AuthorClass, Carried, Carriers};
pub use degree::{DEGREE, Degree};
pub use held::Held;
pub use retry_queue::RetryQueue;
pub use sent::Sent;
pub use settings::{GRAYLIST, GossipSub, behaviour};
pub use topic::{TOPIC_EPIPHANY, TOPIC_HEARTBEAT, TOPIC_STATE};
