//! `qres model join`, `leave`, `list` and `show`.

use qres_api::pb;
use serde_json::json;

use super::{Context, needed};
use crate::failure::Failure;
use crate::output::Output;
use crate::show::json;
use crate::show::model::model_text;
use crate::show::table::Table;
use crate::show::text;

/// Takes part in a model.
#[derive(Debug, clap::Args)]
pub struct Join {
    /// Name, name@id
    model: String,
}

/// Leaves a model.
#[derive(Debug, clap::Args)]
pub struct Leave {
    /// Name, name@id
    model: String,
}

/// Lists models.
#[derive(Debug, clap::Args)]
pub struct List {}

/// Shows a model.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Name, name@id
    model: String,
}

impl Join {
    /// Asks and prints.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let request = pb::JoinModelRequest { model: self.model };
        let answer = context.client.models().join_model(request).await?.into_inner();
        print(context.output, &needed(answer.model, "model")?);
        Ok(())
    }
}

impl Leave {
    /// Asks and prints.
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
    /// Asks and prints.
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
    /// Asks and prints.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let model = context.model(&self.model).await?;
        print(context.output, &model);
        Ok(())
    }
}

/// A model with all there is to know of it, and its warnings apart, where a person sees them.
pub fn print(output: Output, model: &pb::Model) {
    output.print(|| json!({"model": json::model(model)}), || model_text(model));
    if !output.is_json() {
        for warning in &model.warnings {
            output.note(format_args!("warning: {warning}"));
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
