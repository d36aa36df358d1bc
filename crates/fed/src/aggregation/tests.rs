//! ByzFL's published figures of rules whose bounds the published example breaks: Krum of 3 vectors with f = 1.

use super::*;
use crate::record::Rule;

/// The inner products of [1, 2, 3], [4, 5, 6] and [7, 8, 9].
const PRODUCTS: [f64; 9] = [14.0, 32.0, 50.0, 32.0, 77.0, 122.0, 50.0, 122.0, 194.0];

#[test]
fn krum_and_multi_krum_of_three_are_those_of_byzfl() {
    for (id, coefficients) in [
        ("krum/1", [1.0, 0.0, 0.0]),
        ("krum-n-f-1/1", [1.0, 0.0, 0.0]),
        ("multi-krum/1", [0.5, 0.5, 0.0]),
        ("multi-krum-n-f-1/1", [0.5, 0.5, 0.0]),
    ] {
        let rule = Rule {
            id: id.into(),
            params: [("f".to_owned(), 1.0)].into(),
        };
        let rules = Aggregation::new(&[rule], 512, 512).unwrap();
        let planned = rules.plan(&[1.0 / 3.0; 3], PRODUCTS.to_vec(), &[0; 32], None);
        assert_eq!(planned.plan, Plan::Sum(coefficients.to_vec()), "{id}");
    }
}
