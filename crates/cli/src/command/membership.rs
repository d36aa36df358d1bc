//! The commands `qres model join`, `leave`, `list` and `show`.

use futures::TryStreamExt;
use qres_api::pb;
use serde_json::json;

use super::{Context, needed};
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::output::Output;
use crate::show::json;
use crate::show::lines::Lines;
use crate::show::model::model_text;
use crate::show::table::Table;
use crate::show::text;

/// Takes part in a model as soon as this node has heard of the model.
#[derive(Debug, clap::Args)]
pub struct Join {
    /// name@id, or a name: then the creator, the members and the id are shown first
    model: String,
    /// Join only if the node with this id made the model: node id or peer id
    #[arg(long, value_name = "ID")]
    creator: Option<String>,
    /// Join the only model of that name without asking
    #[arg(long)]
    yes: bool,
}

/// Leaves a model on this node.
#[derive(Debug, clap::Args)]
pub struct Leave {
    /// Name of the model, or name@id
    model: String,
}

/// Lists joined and available models.
#[derive(Debug, clap::Args)]
pub struct List {}

/// Shows a model with all its details.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Name of the model, or name@id
    model: String,
}

impl Join {
    /// Joins the model, waits for its announcement if need be, and prints the model.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        // The watch begins before the first try, so that no announcement in between is missed.
        let mut watch = context.client.watch_models(0).await?;
        let mut said = false;
        let model = loop {
            match self.join(&context).await {
                Err(failure) if self.may_come(&failure) => {
                    if !std::mem::replace(&mut said, true) {
                        context
                            .output
                            .note(format_args!("waiting for an announcement of {}: {failure}", self.model));
                    }
                    loop {
                        let Some(message) = watch.try_next().await? else {
                            return Err(failure);
                        };
                        if message.model.is_some_and(|model| self.is_about(&model)) {
                            break;
                        }
                    }
                }
                joined => break joined?,
            }
        };
        print(context.output, &context.client.with_all_tensors(model).await?);
        Ok(())
    }

    async fn join(&self, context: &Context) -> Result<pb::Model, Failure> {
        let model = match self.creator.is_some() || self.model.contains('@') {
            true => self.model.clone(),
            false => chosen(context, &self.model, self.yes).await?,
        };
        let creator = self.creator.clone().unwrap_or_default();
        let request = pb::JoinModelRequest { model, creator };
        let answer = context.client.models().join_model(request).await?.into_inner();
        needed(answer.model, "model")
    }

    /// Returns true if an announcement may make the join work: of the model, or of the creator's model of that name.
    fn may_come(&self, failure: &Failure) -> bool {
        failure.is_not_found() || self.creator.is_some() && failure.reason() == "CREATOR_UNKNOWN"
    }

    /// Returns true if the model of a watch's message may be the model to join.
    fn is_about(&self, model: &pb::Model) -> bool {
        let (name, id) = self.model.split_once('@').unwrap_or((&self.model, ""));
        model.name == name && (id.is_empty() || model.id == id) || model.id == self.model
    }
}

impl Leave {
    /// Leaves the model and prints a confirmation.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let request = pb::LeaveModelRequest {
            model: self.model.clone(),
        };
        context.client.models().leave_model(request).await?;
        context.output.print(
            || json!({}),
            || format!("left {}; other nodes go on with it", self.model),
        );
        Ok(())
    }
}

impl List {
    /// Reads all models and prints them.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let models = context.models().await?;
        context.output.print(
            || json!({"models": json::list(&models, json::model)}),
            || table(&models).text("no models: make one with `qres model create`"),
        );
        Ok(())
    }
}

impl Show {
    /// Reads the model and prints it.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let model = context.model(&self.model).await?;
        print(context.output, &model);
        Ok(())
    }
}

/// Returns the model of this name as name@id, once a person has agreed, because any node can give any name to a model. With
/// `yes` no person is asked.
async fn chosen(context: &Context, name: &str, yes: bool) -> Result<String, Failure> {
    let model = match context.model(name).await {
        Err(failure) if failure.reason() == "MODEL_AMBIGUOUS" => newest(context, name).await?.ok_or(failure)?,
        found => found?,
    };
    let taken = !matches!(model.standing(), pb::ModelStanding::Available);
    // A full id as the name needs no question either: an id names one model.
    if !taken && name != model.id {
        let members = match model.open {
            true => "anyone (open)".to_owned(),
            false => model.members.join(", "),
        };
        let mut what = Lines::from(format!("join {}", model.name));
        what.push(&format!("  id       {}", model.id));
        what.push(&format!("  creator  {}", model.creator));
        what.push(&format!("  members  {members}"));
        confirm(&what, yes)?;
    }
    Ok(format!("{}@{}", model.name, model.id))
}

/// Returns the newest of several models of one name that succeed each other; `None` if they do not. A successor counts only if its
/// creator is a member of the model that it succeeds, since any node can announce a model that says so.
async fn newest(context: &Context, name: &str) -> Result<Option<pb::Model>, Failure> {
    let mut models = vec![];
    for listed in context.models().await?.into_iter().filter(|model| model.name == name) {
        models.push(context.model(&format!("{name}@{}", listed.id)).await?);
    }
    let succeeds = |new: &pb::Model, old: &pb::Model| new.succeeds == old.id && old.members.contains(&new.creator);
    let is_newest = |old: &&pb::Model| !models.iter().any(|new| succeeds(new, old));
    let mut newest = models.iter().filter(is_newest);
    Ok(match (newest.next(), newest.next()) {
        (Some(one), None) => Some(one.clone()),
        _ => None,
    })
}

/// Prints a model with all its details. With text output, its warnings and conditions go to stderr.
pub fn print(output: Output, model: &pb::Model) {
    output.print(|| json!({"model": json::model(model)}), || model_text(model));
    if !output.is_json() {
        for warning in &model.warnings {
            output.note(format_args!("warning: {warning}"));
        }
        for condition in &model.conditions {
            output.note(format_args!(
                "warning: {}: {}",
                text::condition(condition),
                condition.text
            ));
        }
    }
}

fn table(models: &[pb::Model]) -> Table {
    let mut table = Table::new([
        "MODEL", "ID", "STANDING", "MEMBER", "ROUND", "HEAD", "STRATEGY", "CODEC", "CREATOR",
    ]);
    for model in models {
        let head = model.head.as_ref();
        table.row([
            model.name.clone(),
            text::short(&model.id),
            text::standing(model).to_owned(),
            text::yes(model.member),
            head.map_or("-".into(), |head| head.round.to_string()),
            head.map_or("-".into(), |head| text::short(&head.id)),
            text::rule(model.strategy.as_ref()),
            text::rule(model.codec.as_ref()),
            text::short(&model.creator),
        ]);
    }
    table
}
