use qres_fed::id::{BlobId, SpecId};

use super::submission::submission;
use super::*;

fn keep(spec: SpecId, trainer: &str, blob: u8) -> Write {
    Write::Submission(StoredSubmission {
        personal: Some(BlobId([blob; 32])),
        ..submission(spec, trainer, blob.into())
    })
}

#[test]
fn each_trainer_of_a_model_has_its_newest_personal_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, other) = (SpecId([1; 32]), SpecId([2; 32]));
    let writes = vec![
        keep(one, "a", 1),
        keep(one, "b", 2),
        keep(other, "a", 3),
        keep(one, "a", 4),
    ];
    store.commit(writes).unwrap();
    drop(store);
    let store = open(dir.path());
    let of = |spec, trainer| store.personal(spec, trainer).unwrap().map(|blob| blob.0[0]);
    assert_eq!(
        (of(one, "a"), of(one, "b"), of(other, "a")),
        (Some(4), Some(2), Some(3))
    );
    assert_eq!((of(other, "b"), of(one, "")), (None, None));
    let mut all = store.all_personal(one).unwrap();
    all.sort();
    assert_eq!(all, [BlobId([2; 32]), BlobId([4; 32])]);
}

#[test]
fn personal_tensors_go_on_in_a_successor_and_go_when_the_model_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, new) = (SpecId([1; 32]), SpecId([2; 32]));
    store.commit(vec![keep(old, "a", 1), keep(old, "b", 2)]).unwrap();
    let move_over = vec![
        Write::Join(new),
        Write::CarryPersonal { from: old, to: new },
        Write::Leave(old),
    ];
    store.commit(move_over).unwrap();
    assert_eq!(store.personal(new, "a").unwrap(), Some(BlobId([1; 32])));
    assert_eq!(store.all_personal(new).unwrap().len(), 2);
    assert_eq!(store.all_personal(old).unwrap(), []);
}
