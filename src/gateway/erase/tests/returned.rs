//! Keys that came back with an old copy of the key store are destroyed again before anybody is served.
//! (Invariant I9; attack 22.)

use super::*;

/// The files of a store as they lie there now, to be put back later.
fn copied(folder: &Path, name: &str) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let paths = ["", "-wal", "-shm"].map(|end| folder.join(format!("{name}{end}")));
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).ok())).collect()
}

fn put_back(files: &[(PathBuf, Option<Vec<u8>>)]) {
    for (path, bytes) in files {
        match bytes {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => drop(std::fs::remove_file(path)),
        }
    }
}

/// Opens the house after the journal, and perhaps the memory, was lost too.
async fn replayed(folder: &Path, source: &Source, memory_is_lost: bool) -> (Gateway, usize) {
    std::fs::remove_file(folder.join("journal/stops.journal")).unwrap();
    let house = open(folder, source).await;
    if memory_is_lost {
        std::fs::remove_file(house.erased_memory()).unwrap();
    }
    let count = house.replay_erasures().await.unwrap();
    (house, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_came_back_are_destroyed_again() {
    for memory_is_lost in [false, true] {
        let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
        let house = open(folder.path(), &source).await;
        let subject = meet(&house, None).await;
        let destroyed = wrapped_keys(&house, subject).await;
        house.close();
        let older = copied(folder.path(), "keys.db");
        let house = open(folder.path(), &source).await;
        let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
        house.carry_out_case(case.case.id).await.unwrap();
        assert_eq!(house.replay_erasures().await.unwrap(), 0, "nobody came back");
        house.close();

        put_back(&older);
        let (house, count) = replayed(folder.path(), &source, memory_is_lost).await;
        assert_eq!(count, 1);
        assert!(wrapped_keys(&house, subject).await.is_empty());
        let told = house.database.read(|c| crate::storage::audit_log::leaves_of_events(c, &[703], 10)).await.unwrap();
        let told = crate::audit::leaf::Leaf::decode(&told[0].leaf).unwrap();
        let prints = told.facts.as_slice().iter().find_map(|fact| match fact {
            crate::audit::leaf::Fact::Fingerprints(prints) => Some(prints.len()),
            _ => None,
        });
        assert_eq!(prints, Some(destroyed.len()));
        assert_eq!(house.replay_erasures().await.unwrap(), 0, "and once is enough");
        house.close();
        let house = open(folder.path(), &source).await;
        assert_eq!(house.replay_erasures().await.unwrap(), 0);
        house.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_by_law_stays_readable_where_only_old_keys_came_back() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let house = open(folder.path(), &source).await;
    let subject = meet(&house, Some(ORDER)).await;
    let before = {
        let id = crate::storage::Id16::from(subject);
        let keys = house.keyholder.store().read(move |c| crate::storage::keys::subject_keys(c, &[id])).await.unwrap();
        keys.into_iter().next().unwrap()
    };
    let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();
    assert_eq!(house.replay_erasures().await.unwrap(), 0, "nobody came back");
    // Somebody puts the destroyed key back beside the living one (attack 22).
    house
        .keyholder
        .store()
        .write(move |c| crate::storage::keys::insert_subject_keys(c, std::slice::from_ref(&before)))
        .await
        .unwrap();
    house.close();
    let house = open(folder.path(), &source).await;
    assert_eq!(house.replay_erasures().await.unwrap(), 1);
    let living = house.keyholder.people(vec![(subject, 2)]).await.unwrap();
    assert_eq!(living[0].dek.version(), 2, "what is kept still opens");
    let (_, person) = (case, house.person_now(subject).await.unwrap().unwrap());
    assert!(matches!(person.subject.status, crate::domain::subject::SubjectStatus::RetainedOnly { .. }));
    assert_eq!(house.replay_erasures().await.unwrap(), 0);
    house.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_by_law_is_kept_again_where_both_stores_came_back() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let place = folder.path().join("mirror");
    let mirrored = || Settings { mirror: Some(place.clone()), ..settings(folder.path(), on_sqlite(folder.path())) };
    let root = || KeyringSource::File { path: folder.path().join("root.key"), managed: true };
    let house = open(folder.path(), &source).await;
    let subject = meet(&house, Some(ORDER)).await;
    house.publish_once().await.unwrap();
    house.close();
    let copies = [copied(folder.path(), "amanat.db"), copied(folder.path(), "keys.db")];
    let house = Gateway::open(mirrored(), root(), policy(), source.clone()).await.unwrap();
    let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();
    house.publish_once().await.unwrap();
    house.finish_mirror().await;
    house.close();

    copies.iter().for_each(|copy| put_back(copy));
    let restore = crate::gateway::restore::from_mirror;
    let restored = restore(mirrored(), root(), policy(), source.clone(), &place, |_, _| {}).await.unwrap();
    assert_eq!(restored.erased_again, 1, "{restored:?}");
    let house = open(folder.path(), &source).await;
    let person = house.person_now(subject).await.unwrap().unwrap();
    let purpose = PurposeId::new("bookkeeping");
    assert_eq!(person.subject.status, crate::domain::subject::SubjectStatus::RetainedOnly { purpose });
    assert_eq!(house.keyholder.people(vec![(subject, 2)]).await.unwrap().len(), 1);
    assert!(house.keyholder.people(vec![(subject, 1)]).await.is_err(), "the old key is gone again");
    let kept = house.database.read(move |c| records::of_subject(c, subject, None, 10)).await.unwrap();
    assert_eq!(kept.len(), 1, "the profile went, the order stays");
    assert_eq!(subject_of(&house).await, None, "nothing finds the person any more");
    assert_eq!(house.replay_erasures().await.unwrap(), 0);
    house.close();
}
