//! Every example of every shipped rule, cut at the tokens of a real vocabulary: what is sent is at
//! every step a beginning of the masked whole.
//!
//! Other cuts are in `policies/tests/exactness`; this one is here because the vocabulary is.

use penstock_perf::detect::vectors::examples_in_tokens;
use penstock_perf::rulesets;
use penstock_policies::mask::{Channel, MaskKey, mask_text};

#[test]
fn examples_cut_into_tokens_are_masked_as_the_whole() {
    let rules = rulesets::named("everything").expect("are shipped");
    let examples = examples_in_tokens(&rules);
    let scanner = rulesets::compile(rules).expect("compile");
    let (plan, key) = (rulesets::mask_all(&scanner), MaskKey::new([7; 32]));
    assert!(examples.len() > 100, "only {} examples", examples.len());
    for pieces in examples {
        let text = pieces.concat();
        let whole = mask_text(&scanner, &plan, &key, &text, &mut |_| {});
        let whole = whole.unwrap_or_else(|| text.clone());
        let (mut channel, mut sent) = (Channel::new(), String::new());
        for piece in &pieces {
            channel.push(&scanner, &plan, &key, piece, &mut |_| {}, &mut sent);
            assert!(
                whole.starts_with(&sent),
                "{sent:?}\nof {whole:?}\nin {pieces:?}"
            );
        }
        channel.finish(&scanner, &plan, &key, &mut |_| {}, &mut sent);
        assert_eq!(sent, whole, "in {pieces:?}");
    }
}
