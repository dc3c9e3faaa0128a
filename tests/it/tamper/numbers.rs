//! The design's list of attacks, and where each is tried. None may be missing.

use std::collections::BTreeMap;
use std::path::Path;

use super::attacks;
use super::scene::Scene;

/// How many attacks the list of the design has.
const LAST: u8 = 35;

/// Where an attack of this number is tried beside the corpus: the module of a test, and its name.
const ELSEWHERE: &[(u8, &[&str])] = &[
    (
        1,
        &[
            "tamper::every_byte::every_byte_of_a_hundred_leaves",
            "log::one_changed_byte_is_found_with_its_position",
            "log::scrub::damage_is_told_in_the_log_and_stops_nobody",
        ],
    ),
    (4, &["log::a_tail_that_is_gone_is_a_rollback"]),
    (
        5,
        &[
            "tamper::protocol::a_backup_that_goes_on_is_refused_by_the_witness",
            "log::an_older_copy_of_the_data_is_refused",
        ],
    ),
    (6, &["tamper::protocol::a_backup_that_goes_on_is_refused_by_the_witness"]),
    (
        9,
        &["log::bundles::two_processes_from_one_copy_fork", "witness::of_two_branches_offered_at_once_one_is_cosigned"],
    ),
    (
        10,
        &[
            "tamper::protocol::a_backup_that_goes_on_is_refused_by_the_witness",
            "tamper::stores::an_older_state_is_a_rollback_to_whoever_saved_a_checkpoint",
            "log::witnessed::a_branch_that_went_on_from_a_backup_is_refused_while_it_runs_and_at_the_start",
        ],
    ),
    (
        11,
        &[
            "tamper::stores::a_clock_that_was_wrong_leaves_a_log_in_order",
            "log::clock::a_clock_that_goes_back_a_little_is_told_once_and_clamped",
        ],
    ),
    (12, &["crypto::tests::properties::"]),
    (
        13,
        &[
            "log::bundles::a_part_that_is_shown_is_bound_to_its_leaf",
            "payloads::a_part_that_is_not_what_its_leaf_says_is_found",
            "crypto::tests::two_keys::",
        ],
    ),
    (
        15,
        &[
            "tamper::stores::a_key_that_was_rotated_signs_what_it_may",
            "log::rotation::both_keys_sign_one_size_and_then_the_old_seed_is_gone",
        ],
    ),
    (17, &["tamper::stores::a_silence_that_nothing_explains_is_told"]),
    (18, &["tamper::stores::an_old_log_is_stale"]),
    (
        19,
        &[
            "log::a_row_without_a_leaf_is_incomplete",
            "log::scrub::a_choice_whose_row_is_gone_is_found",
            "payloads::a_row_that_is_gone_is_found_at_its_leaf",
            "tamper::stores::parts_and_the_leaves_that_count_them_balance",
        ],
    ),
    (20, &["crash::killing_the_gateway_loses_nothing_on_sqlite"]),
    (21, &["gateway::erase::tests::a_person_is_erased_whole"]),
    (22, &["payloads::an_erased_key_that_is_back_is_found"]),
    (
        23,
        &["tamper::stores::a_prune_is_held_against_its_policy", "log::prune::what_goes_too_far_or_did_not_go_is_found"],
    ),
    (24, &["log::scrub::a_poisoned_tile_is_made_anew"]),
    (
        25,
        &[
            "tamper::protocol::what_is_malformed_is_refused_at_the_door_of_a_witness",
            "log::bundles::damaged::malformed_containers_are_refused_with_their_place",
            "audit::tests::vectors::malformed_leaves",
            "audit::tests::vectors::malformed_checkpoints",
            "audit::tests::witness::",
        ],
    ),
    (
        27,
        &[
            "crash::ending_at_every_failpoint_loses_nothing_on_sqlite",
            "crash::ending_at_every_failpoint_loses_nothing_on_postgres",
            "tamper::write_ahead::a_write_ahead_log_cut_anywhere_keeps_whole_commits",
        ],
    ),
    (28, &["crash::a_frozen_gateway_forks_nothing_and_holds_nobody_up_for_long"]),
    (29, &["tamper::ways_round::every_way_round_on_sqlite", "tamper::ways_round::every_way_round_on_postgres"]),
    (
        30,
        &[
            "tamper::stores::a_dated_log_is_held_against_its_time_stamps",
            "log::anchors::an_authority_that_is_away_is_told_after_a_day_and_asked_again",
        ],
    ),
    (32, &["tamper::histories::random_histories_agree_with_a_naive_model"]),
    (
        33,
        &[
            "tamper::stores::a_clock_that_was_wrong_leaves_a_log_in_order",
            "log::clock::a_clock_two_years_ahead_does_not_poison_the_log",
        ],
    ),
    // A successor of a log that lost leaves is not built; what one says is judged in the corpus.
    (34, &["log::restore::nobody_returns_with_both_stores_and_no_no_is_lost"]),
    (35, &["log::told::a_flood_of_strangers_is_one_leaf_a_kind"]),
];

#[test]
fn every_attack_of_the_list_is_tried() {
    let scene = Scene::get();
    let all = [
        attacks::on_leaves(scene),
        attacks::beside_leaves(scene),
        attacks::on_history(scene),
        attacks::on_files(scene),
        attacks::on_bundles(scene),
        attacks::by_the_owner_of_the_key(),
    ];
    let mut tried: BTreeMap<u8, usize> = BTreeMap::new();
    for attack in all.iter().flatten() {
        let (number, _) = attack.what.split_once(':').expect("a number");
        *tried.entry(number.parse().expect("a number")).or_default() += 1;
    }
    let controls = tried.remove(&0);
    assert!(controls.is_some_and(|count| count > 2), "what is sound is judged too");
    for (number, tests) in ELSEWHERE {
        for test in *tests {
            assert!(exists(test), "{number}: there is no test {test}");
            *tried.entry(*number).or_default() += 1;
        }
    }
    let missing: Vec<u8> = (1..=LAST).filter(|number| !tried.contains_key(number)).collect();
    let foreign: Vec<u8> = tried.keys().copied().filter(|number| !(1..=LAST).contains(number)).collect();
    assert_eq!((missing, foreign), (Vec::new(), Vec::new()), "not tried, or not in the list");
}

/// Whether there is a test of this name, or any in a module whose name ends the path.
fn exists(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").expect("a module and a name");
    let module = module.replace("::", "/");
    let file = |root: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join(&module);
        let direct = path.with_extension("rs");
        let found = if direct.exists() { direct } else { path.join("mod.rs") };
        std::fs::read_to_string(found).ok()
    };
    let text = file("tests/it").or_else(|| file("src"));
    text.is_some_and(|text| {
        if name.is_empty() {
            text.contains("#[test]") || text.contains("fn ")
        } else {
            text.contains(&format!("fn {name}("))
        }
    })
}
