//! The state machine against an oracle that keeps nothing but a list of what was done, and answers
//! every question by reading that list from its beginning.

use proptest::prelude::*;

use super::*;

const LASTS: u64 = 100;
const DIGEST: &str = "d";
const POLICY: &str = "v";

fn caller() -> Caller {
    Caller {
        issuer: "i".to_owned(),
        subject: "asker".to_owned(),
        tenant: "i".to_owned(),
        key: None,
    }
}

fn person(subject: &str, groups: &[&str]) -> Person {
    Person {
        issuer: "i".to_owned(),
        subject: subject.to_owned(),
        groups: groups.iter().map(|it| (*it).to_owned()).collect(),
    }
}

fn held(hold: &str, quorum: u32, groups: &[&str]) -> HeldBy {
    HeldBy {
        hold: hold.to_owned(),
        cause: "rule:r".to_owned(),
        why: String::new(),
        quorum,
        groups: groups.iter().map(|it| (*it).to_owned()).collect(),
        window_s: None,
        covered_by: None,
    }
}

fn approval(holds: Vec<HeldBy>) -> Approval {
    let matter = Matter {
        session: "s".to_owned(),
        policy_version: POLICY.to_owned(),
        ..Matter::default()
    };
    let about = (caller(), matter);
    Approval::request(
        "a".into(),
        DIGEST.into(),
        about,
        holds,
        Manner::Ticket,
        (0, LASTS),
    )
}

fn spend(approval: &mut Approval, now_ms: u64) -> Result<(), UseError> {
    approval.spend(now_ms, &caller(), (DIGEST, POLICY), "t")
}

#[test]
fn every_hold_wants_its_own_quorum_and_a_person_counts_once() {
    let mut it = approval(vec![
        held("a", 2, &["security"]),
        held("b", 1, &["legal-*", "security-leads"]),
    ]);
    let (ann, bob) = (
        person("ann", &["security"]),
        person("bob", &["x", "security"]),
    );
    let cy = person("cy", &["legal-eu", "security"]);
    assert_eq!(it.decide(1, &ann, Decision::Approve, ""), Ok(()));
    assert_eq!(
        it.decide(1, &ann, Decision::Approve, ""),
        Err(DecideError::Voted)
    );
    assert_eq!(it.decide(2, &bob, Decision::Approve, "fine"), Ok(()));
    assert_eq!(it.standing, Standing::Pending, "nobody of legal has spoken");
    assert_eq!(spend(&mut it, 3), Err(UseError::Pending));
    assert_eq!(it.decide(3, &cy, Decision::Approve, ""), Ok(()));
    assert_eq!(
        (it.standing, it.approvals_of(0), it.approvals_of(1)),
        (Standing::Approved, 3, 1)
    );
    // There is as much time again to use it.
    assert_eq!(it.expires_ms, 3 + LASTS);
    assert_eq!(spend(&mut it, 2 + LASTS), Ok(()));
    assert_eq!(
        spend(&mut it, 2 + LASTS),
        Err(UseError::Over(Standing::Used))
    );
    let told: Vec<&str> = it.history.iter().map(|it| it.event.as_str()).collect();
    assert_eq!(
        told,
        ["requested", "approved", "approved", "approved", "used"]
    );
}

#[test]
fn who_may_not_decide_is_told_why() {
    let mut it = approval(vec![held("a", 1, &["security"])]);
    let asker = person("asker", &["security"]);
    assert_eq!(
        it.decide(1, &asker, Decision::Approve, ""),
        Err(DecideError::Own)
    );
    assert_eq!(
        it.decide(1, &asker, Decision::Deny, "no"),
        Err(DecideError::Own)
    );
    // The same name at another issuer is somebody else.
    let other = Person {
        issuer: "j".to_owned(),
        ..asker
    };
    let eve = person("eve", &["Security", "securit", "security2"]);
    let refused = it.decide(1, &eve, Decision::Approve, "");
    assert_eq!(
        refused,
        Err(DecideError::NotAnApprover(vec!["security".to_owned()]))
    );
    assert_eq!(
        it.decide(1, &other, Decision::Deny, " "),
        Err(DecideError::NoReason)
    );
    assert_eq!(it.decide(1, &other, Decision::Approve, ""), Ok(()));
    // A yes can be taken back until it is used, by whoever may decide.
    assert_eq!(it.decide(2, &other, Decision::Deny, "wrong one"), Ok(()));
    assert_eq!(spend(&mut it, 3), Err(UseError::Over(Standing::Denied)));
    let ann = person("ann", &["security"]);
    let over = Err(DecideError::Over(Standing::Denied));
    assert_eq!(it.decide(3, &ann, Decision::Approve, ""), over);
}

#[test]
fn only_the_same_request_of_the_same_caller_under_the_same_policies_goes_on() {
    let mut it = approval(vec![held("a", 1, &["security"])]);
    it.decide(1, &person("ann", &["security"]), Decision::Approve, "")
        .unwrap();
    let by_key = Caller {
        key: Some("k".to_owned()),
        ..caller()
    };
    let elsewhere = Caller {
        issuer: "j".to_owned(),
        ..caller()
    };
    for other in [by_key, elsewhere] {
        let refused = it.spend(2, &other, (DIGEST, POLICY), "t");
        assert_eq!(refused, Err(UseError::Unknown));
    }
    assert_eq!(
        it.spend(2, &caller(), ("e", POLICY), "t"),
        Err(UseError::Other)
    );
    assert_eq!(
        it.spend(2, &caller(), ("e", "w"), "t"),
        Err(UseError::Stale)
    );
    assert_eq!(spend(&mut it, 2), Ok(()));
}

#[test]
fn windows_open_with_a_yes_and_close_with_a_no() {
    let windowed = HeldBy {
        window_s: Some(60),
        ..held("a", 1, &["security"])
    };
    let covered = HeldBy {
        covered_by: Some("b".to_owned()),
        ..windowed.clone()
    };
    let mut it = approval(vec![windowed, held("b", 1, &["security"]), covered]);
    assert!(it.windows().is_empty());
    let ann = person("ann", &["security"]);
    it.decide(5, &ann, Decision::Approve, "").unwrap();
    let window = Window {
        hold: "a".to_owned(),
        cause: "rule:r".to_owned(),
        until_ms: 60_005,
        approval: "a".to_owned(),
    };
    assert_eq!(
        it.windows(),
        std::slice::from_ref(&window),
        "what is covered opens nothing"
    );
    spend(&mut it, 6).unwrap();
    assert_eq!(it.windows(), [window]);
    let mut denied = approval(vec![held("a", 1, &["security"])]);
    denied.decide(5, &ann, Decision::Deny, "no").unwrap();
    assert!(denied.windows().is_empty());
}

#[derive(Clone, Debug)]
enum Deed {
    Say { who: usize, decision: Decision },
    Spend { digest: &'static str },
    Withdraw,
    Notice,
}

/// Three approvers, the asker, and one of another group.
fn people() -> [Person; 5] {
    [
        person("ann", &["security"]),
        person("bob", &["security", "legal"]),
        person("cy", &["legal"]),
        person("asker", &["security", "legal"]),
        person("eve", &["sales"]),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let decision = prop_oneof![4 => Just(Decision::Approve), 1 => Just(Decision::Deny)];
    let digest = prop_oneof![4 => Just(DIGEST), 1 => Just("e")];
    prop_oneof![
        6 => (0..5_usize, decision).prop_map(|(who, decision)| Deed::Say { who, decision }),
        4 => digest.prop_map(|digest| Deed::Spend { digest }),
        1 => Just(Deed::Withdraw),
        1 => Just(Deed::Notice),
    ]
}

/// What was taken of everything that was done, with its time.
struct Oracle {
    holds: Vec<HeldBy>,
    taken: Vec<(u64, Deed)>,
}

impl Oracle {
    fn yes(&self, until: usize, hold: &HeldBy) -> usize {
        let people = people();
        let counts = |(_, deed): &&(u64, Deed)| match deed {
            Deed::Say {
                who,
                decision: Decision::Approve,
            } => {
                let groups = &people[*who].groups;
                hold.groups.iter().any(|group| groups.contains(group))
            }
            _ => false,
        };
        self.taken[..until].iter().filter(counts).count()
    }

    /// When the last needed yes was said.
    fn approved_at(&self) -> Option<u64> {
        let enough = |until: &usize| {
            self.holds
                .iter()
                .all(|hold| self.yes(*until, hold) >= hold.quorum as usize)
        };
        let until = (1..=self.taken.len()).find(enough)?;
        Some(self.taken[until - 1].0)
    }

    fn has(&self, wanted: impl Fn(&Deed) -> bool) -> bool {
        self.taken.iter().any(|(_, deed)| wanted(deed))
    }

    fn standing(&self, now: u64) -> Standing {
        if self.has(|deed| matches!(deed, Deed::Spend { .. })) {
            Standing::Used
        } else if self.has(|deed| {
            matches!(
                deed,
                Deed::Say {
                    decision: Decision::Deny,
                    ..
                }
            )
        }) {
            Standing::Denied
        } else if self.has(|deed| matches!(deed, Deed::Withdraw)) {
            Standing::Withdrawn
        } else {
            let approved = self.approved_at();
            match now >= approved.unwrap_or(0) + LASTS {
                true => Standing::Expired,
                false if approved.is_some() => Standing::Approved,
                false => Standing::Pending,
            }
        }
    }

    fn takes(&self, now: u64, deed: &Deed) -> bool {
        let standing = self.standing(now);
        match deed {
            Deed::Say { who: 3 | 4, .. } => false,
            Deed::Say {
                who,
                decision: Decision::Approve,
            } => {
                let same = |deed: &Deed| matches!(deed, Deed::Say { who: it, .. } if it == who);
                standing == Standing::Pending && !self.has(same)
            }
            Deed::Say { .. } | Deed::Withdraw => {
                matches!(standing, Standing::Pending | Standing::Approved)
            }
            Deed::Spend { digest } => standing == Standing::Approved && *digest == DIGEST,
            Deed::Notice => false,
        }
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_oracle(
        quorums in (1..3_u32, 1..3_u32),
        deeds in prop::collection::vec((deed(), 0..40_u64), 1..40),
    ) {
        let holds = vec![held("a", quorums.0, &["security"]), held("b", quorums.1, &["legal"])];
        let mut real = approval(holds.clone());
        let mut oracle = Oracle { holds, taken: Vec::new() };
        let people = people();
        let mut now = 0;
        for (deed, step) in deeds {
            now += step;
            let expected = oracle.takes(now, &deed);
            let before = real.history.len();
            let taken = match &deed {
                Deed::Say { who, decision } => {
                    real.decide(now, &people[*who], *decision, "because").is_ok()
                }
                Deed::Spend { digest } => {
                    real.spend(now, &caller(), (digest, POLICY), "t").is_ok()
                }
                Deed::Withdraw => real.withdraw(now, "gone"),
                Deed::Notice => {
                    real.expire(now);
                    false
                }
            };
            prop_assert_eq!(taken, expected, "{:?} at {}", &deed, now);
            if taken {
                oracle.taken.push((now, deed));
            }
            prop_assert_eq!(real.standing_at(now), oracle.standing(now));
            // Nothing that is over is undone by a clock that steps back, once it was noticed.
            if real.standing == Standing::Expired {
                prop_assert_eq!(real.clone().standing_at(0), Standing::Expired);
            }
            // History only grows, and says what happened.
            prop_assert!(real.history.len() >= before && real.history.len() <= before + 2);
        }
        let used = real.history.iter().filter(|it| it.event == EventKind::Used).count();
        prop_assert!(used <= 1);
    }
}
