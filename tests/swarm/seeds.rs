//! Models whose first weights come from a seed.

use qres_api::pb;
use qres_fed::tensor::write_seeded;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, Swarm, wait};
use tonic::Code;
use tonic_types::StatusExt;

use crate::rounds::node_ids;
use crate::{field, head, vector_model};

fn tensor(name: &str, dtype: &str, shape: &[u64]) -> pb::TensorSpec {
    pb::TensorSpec {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
        kind: pb::TensorKind::Shared.into(),
    }
}

/// Returns the request for a model of one layer, whose tensors are not in the order of their names.
fn layer(name: &str, seed: u64) -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        data: vec![].into(),
        tensors: vec![tensor("weight", "F32", &[4, 9]), tensor("bias", "BF16", &[4])],
        seed: Some(seed),
        ..vector_model(name, &[])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_creator_makes_the_weights_and_the_others_fetch_them() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    let members = node_ids(&nodes).await;
    let layer = |name: &str, seed| pb::CreateModelRequest {
        members: members.clone(),
        ..layer(name, seed)
    };
    let made = nodes[0].create(layer("seeded", 7)).await.unwrap();
    let again = nodes[0].create(layer("seeded", 7)).await.unwrap();
    assert_eq!(
        (&made.id, head(&made)),
        (&again.id, head(&again)),
        "the same seed, the same model"
    );
    let names: Vec<_> = made.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["bias", "weight"]);
    nodes[1].join("seeded").await;
    let fetched = nodes[1].wait_for_round("seeded", 0).await;
    let schema = qres_fed::tensor::read_schema(&&fetched.file[..]).unwrap();
    let mut expected = vec![];
    write_seeded(&schema, 7, &mut expected).unwrap();
    assert_eq!(fetched.file, expected);
    let other = nodes[0].create(layer("another", 8)).await.unwrap();
    assert_ne!(made.checkpoint0_digest, other.checkpoint0_digest);
}

/// Callers with default settings take messages of up to 4 MiB, and so does the node. The stubs of `Node` are such callers.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_many_mebibytes_goes_both_ways_through_a_client_that_sets_nothing() {
    let swarm = Swarm::start(1).await;
    let node = &swarm.nodes()[0];
    let count = 60_000;
    let name = |n: usize| format!("{n:05}.{}", "block.attention.".repeat(6));
    let all: Vec<_> = (0..count).map(|n| tensor(&name(n), "F32", &[1])).collect();
    let mut messages: Vec<_> = all
        .chunks(10_000)
        .map(|tensors| pb::CreateModelRequest {
            tensors: tensors.to_vec(),
            ..Default::default()
        })
        .collect();
    messages[0] = pb::CreateModelRequest {
        tensors: std::mem::take(&mut messages[0].tensors),
        ..layer("many-names", 1)
    };
    let made = node
        .models()
        .create_model(futures::stream::iter(messages.clone()))
        .await
        .unwrap();
    let made = made.into_inner().model.unwrap();
    let first = made.tensors.len();
    assert_eq!(
        (made.tensor_count as usize, made.tensors[0].name.clone()),
        (count, name(0))
    );
    assert!(first < count, "all {count} names fit into one message");
    let mut seen = made.tensors;
    let mut page_token = seen.len().to_string();
    while !page_token.is_empty() {
        let request = pb::ListTensorsRequest {
            model: "many-names".into(),
            page_size: 9_000,
            page_token,
        };
        let page = node.models().list_tensors(request).await.unwrap().into_inner();
        assert!(page.tensors.len() <= 9_000 && !page.tensors.is_empty());
        seen.extend(page.tensors);
        page_token = page.next_page_token;
    }
    assert_eq!(seen, all);
    // The same messages give the same model again. A later message with more than tensors is refused, and so is a wrong token.
    let again = node
        .models()
        .create_model(futures::stream::iter(messages.clone()))
        .await
        .unwrap();
    assert_eq!(again.into_inner().model.unwrap().id, made.id);
    messages[2].name = "late".into();
    let late = node
        .models()
        .create_model(futures::stream::iter(messages))
        .await
        .unwrap_err();
    assert_eq!(late.get_details_error_info().unwrap().reason, "LATE_HEADER");
    for token in ["x", "60001", "-1"] {
        let request = pb::ListTensorsRequest {
            model: "many-names".into(),
            page_token: token.into(),
            ..Default::default()
        };
        let refused = node.models().list_tensors(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), field(&refused).as_str()),
            (Code::InvalidArgument, "page_token")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_without_sound_tensors_is_refused_by_field() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let good = layer("bad", 7);
    let with = |tensors: Vec<pb::TensorSpec>| pb::CreateModelRequest {
        tensors,
        ..good.clone()
    };
    let cases = [
        ("tensors", with(vec![])),
        (
            "tensors",
            pb::CreateModelRequest {
                seed: None,
                ..good.clone()
            },
        ),
        (
            "tensors[1].dtype",
            with(vec![tensor("a", "F32", &[1]), tensor("b", "FLOAT", &[1])]),
        ),
        (
            "tensors",
            with(vec![tensor("a", "F32", &[1]), tensor("a", "F32", &[1])]),
        ),
        ("tensors", with(vec![tensor("", "F32", &[1])])),
        ("tensors", with(vec![tensor("a", "F32", &[u64::MAX, u64::MAX])])),
        ("tensors", with(vec![tensor("a", "F64", &[1 << 40])])),
        ("tensors", with(vec![tensor("a", "F32", &[1; 17])])),
        (
            "data",
            pb::CreateModelRequest {
                data: vector(&[1.0]).into(),
                ..good.clone()
            },
        ),
        (
            "seed",
            pb::CreateModelRequest {
                succeeds: "ab".repeat(32),
                ..good.clone()
            },
        ),
    ];
    for (blamed, request) in cases {
        let status = node.create(request).await.unwrap_err();
        assert_eq!(
            (status.code(), field(&status).as_str()),
            (Code::InvalidArgument, blamed),
            "{status:?}"
        );
    }
    node.create(good.clone()).await.unwrap();
}

/// Returns a request of a few bytes for a model of this many bytes.
fn huge(bytes: u64) -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        tensors: vec![tensor("weight", "F32", &[2, bytes / 8])],
        ..layer("huge", 7)
    }
}

/// Number of bytes on the disk that the files below a folder take.
fn disk_bytes(folder: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // The file was removed after the folder was read.
        Err(_) => 0,
    });
    bytes.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_of_more_than_there_is_room_for_is_refused_before_a_byte_is_written() {
    let quota = Daemon::start(Options {
        arguments: ["--blob-bytes-max", "1000000"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let before = disk_bytes(&quota.data_dir());
    for (daemon, bytes, why) in [
        (&quota, 250 << 30, "blob_bytes_max leaves 1000000 bytes"),
        (&quota, 1_000_000, "blob_bytes_max"),
    ] {
        let refused = daemon.node().create(huge(bytes)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(refused.message().contains(why), "{refused:?}");
        assert_eq!(refused.get_details_error_info().unwrap().reason, "DISK_FULL");
    }
    assert!(disk_bytes(&quota.data_dir()) < before + 1_000_000);
    quota.node().create(huge(900_000)).await.unwrap();
    let daemon = Daemon::start(Options {
        arguments: ["--blob-bytes-max", "none"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let disk = rustix::fs::statvfs(daemon.data_dir()).unwrap();
    if disk.f_bavail * disk.f_frsize < 250 << 30 {
        let refused = daemon.node().create(huge(250 << 30)).await.unwrap_err();
        assert!(refused.message().contains("bytes left"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_ends_the_making_of_its_weights() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let before = disk_bytes(&daemon.data_dir());
    let disk = rustix::fs::statvfs(daemon.data_dir()).unwrap();
    // This many bytes are minutes of work, so the work is not done when the caller goes away.
    let bytes = (32 << 30).min(disk.f_bavail * disk.f_frsize / 2);
    let caller = node.clone();
    let call = tokio::spawn(async move { caller.create(huge(bytes)).await });
    wait::until("the first 8 MiB", || async {
        (disk_bytes(&daemon.data_dir()) > before + (8 << 20)).then_some(())
    })
    .await;
    call.abort();
    wait::until("the disk to be free again", || async {
        (disk_bytes(&daemon.data_dir()) < before + (1 << 20)).then_some(())
    })
    .await;
    let answer = node.models().list_models(pb::ListModelsRequest::default()).await;
    assert_eq!(answer.unwrap().into_inner().models, []);
    node.create(layer("after", 7)).await.unwrap();
}
