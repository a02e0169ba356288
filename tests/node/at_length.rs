//! What takes too long for every change: again and again, for both releases, and kubelets of others. tests/run leaves this
//! module out but for `--long`.

use crate::hard_times::{comes_back_after_two_days, reboots_in_a_relist, ten_outages_a_minute};
use crate::kinds::KINDS;
use crate::lives::lives_behind_the_hub;
use crate::reboots::{comes_back_without_its_cloud, four_pods_come_back_at_once};
use crate::support::cluster::Release;

const TIMES: usize = 20;
const RELIST_CUTS: [u64; 6] = [1000, 8000, 30_000, 60_000, 100_000, 150_000];

/// As many pods as a busy box has.
#[test]
fn twenty_pods_of_1_36_come_back_twenty_times() {
    comes_back_without_its_cloud(Release::V1_36, 20 - KINDS, TIMES);
}

#[test]
fn twenty_pods_of_1_34_come_back_twenty_times() {
    comes_back_without_its_cloud(Release::V1_34, 20 - KINDS, TIMES);
}

#[test]
fn four_pods_of_1_36_come_back_twenty_times() {
    four_pods_come_back_at_once(Release::V1_36, TIMES);
}

#[test]
fn four_pods_of_1_34_come_back_twenty_times() {
    four_pods_come_back_at_once(Release::V1_34, TIMES);
}

#[test]
fn reboots_in_a_relist_of_1_36_lose_nothing() {
    reboots_in_a_relist(Release::V1_36, &RELIST_CUTS);
}

#[test]
fn reboots_in_a_relist_of_1_34_lose_nothing() {
    reboots_in_a_relist(Release::V1_34, &RELIST_CUTS);
}

#[test]
fn thirty_outages_are_nothing_to_a_node_of_1_36() {
    ten_outages_a_minute(Release::V1_36, 3);
}

#[test]
fn thirty_outages_are_nothing_to_a_node_of_1_34() {
    ten_outages_a_minute(Release::V1_34, 3);
}

#[test]
fn a_node_of_1_34_is_back_after_two_days() {
    comes_back_after_two_days(Release::V1_34);
}

/// Its life, an outage, and three boots without a cloud.
fn is_as_good(release: Release) {
    lives_behind_the_hub(release);
    comes_back_without_its_cloud(release, 1, 3);
}

/// It knows no place of the harness for what pods print, so its pods are those that need not be read.
#[test]
fn a_kubelet_of_1_28_is_as_good() {
    lives_behind_the_hub(Release::V1_28);
    four_pods_come_back_at_once(Release::V1_28, 3);
}

#[test]
fn a_kubelet_of_1_30_is_as_good() {
    is_as_good(Release::V1_30);
}

#[test]
fn a_kubelet_of_1_37_is_as_good() {
    is_as_good(Release::V1_37);
}
