//! The commands `qres model member add`, `remove`, `accept` and `withdraw`.

use qres_api::pb;

use super::membership::print;
use super::{Context, needed};
use crate::failure::Failure;

/// Changes who the members of a model are, together with the other members.
#[derive(Debug, clap::Subcommand)]
pub enum Member {
    /// Propose that nodes become members
    Add(Nodes),
    /// Propose that members are members no longer
    Remove(Nodes),
    /// Agree to the change that another member proposes
    Accept(Accept),
    /// Take this node's proposal or agreement back
    Withdraw(Withdraw),
}

/// The nodes of a change.
#[derive(Debug, clap::Args)]
pub struct Nodes {
    /// Name of the model, or name@id
    model: String,
    /// Node ids or peer ids
    #[arg(required = true, value_name = "ID", value_delimiter = ',')]
    nodes: Vec<String>,
    /// In the same change: nodes that become members, for `remove`
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    add: Vec<String>,
    /// In the same change: members that are members no longer, for `add`
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    remove: Vec<String>,
}

/// Agrees to a change.
#[derive(Debug, clap::Args)]
pub struct Accept {
    /// Name of the model, or name@id
    model: String,
    /// The member that proposes the change, if several do
    #[arg(long, value_name = "ID")]
    proposer: Option<String>,
}

/// Takes an agreement back.
#[derive(Debug, clap::Args)]
pub struct Withdraw {
    /// Name of the model, or name@id
    model: String,
}

impl Member {
    /// Says it to the node, and prints the model with the changes that are proposed.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let mut models = context.client.models();
        let model = match self {
            Self::Add(Nodes {
                model,
                nodes,
                mut add,
                remove,
            }) => {
                add.extend(nodes);
                let request = pb::ChangeMembersRequest { model, add, remove };
                models.change_members(request).await?.into_inner().model
            }
            Self::Remove(Nodes {
                model,
                nodes,
                add,
                mut remove,
            }) => {
                remove.extend(nodes);
                let request = pb::ChangeMembersRequest { model, add, remove };
                models.change_members(request).await?.into_inner().model
            }
            Self::Accept(Accept { model, proposer }) => {
                let proposer = proposer.unwrap_or_default();
                let request = pb::AcceptMembersRequest { model, proposer };
                models.accept_members(request).await?.into_inner().model
            }
            Self::Withdraw(Withdraw { model }) => {
                let request = pb::WithdrawMembersRequest { model };
                models.withdraw_members(request).await?.into_inner().model
            }
        };
        print(context.output, &needed(model, "model")?);
        Ok(())
    }
}
