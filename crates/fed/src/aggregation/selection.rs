//! Rules that choose some of the vectors by their distances.

use super::rule::Neighbours;
use super::span::Span;

/// Returns the vector with the least Krum score (Blanchard et al. 2017, "Machine learning with adversaries:
/// Byzantine tolerant gradient descent"). The score is the sum of the squared distances to the nearest others.
pub(super) fn krum(span: &Span, f: usize, neighbours: Neighbours) -> Vec<usize> {
    multi_krum(span, f, 1, neighbours)
}

/// Returns the `keep` vectors with the least Krum scores, ascending.
pub(super) fn multi_krum(span: &Span, f: usize, keep: usize, neighbours: Neighbours) -> Vec<usize> {
    let all: Vec<usize> = (0..span.len()).collect();
    let mut chosen = by_score(span, &all, f, neighbours);
    chosen.truncate(keep.max(1));
    chosen.sort_unstable();
    chosen
}

/// Returns the vectors `among` ordered by Krum's score, as if there were no others: the least first, and of two with the same
/// score the one whose member has the lower key.
fn by_score(span: &Span, among: &[usize], f: usize, neighbours: Neighbours) -> Vec<usize> {
    let less = match neighbours {
        Neighbours::Paper => 2,
        Neighbours::OneMore => 1,
    };
    // At least one, as in Flower: with few vectors left Bulyan would choose without looking at any distance.
    let nearest = among.len().saturating_sub(f + less).max(1);
    let score = |i: usize| {
        let others = among.iter().filter(|j| **j != i);
        let mut distances: Vec<f64> = others.map(|j| span.distance2(i, *j)).collect();
        distances.sort_by(f64::total_cmp);
        distances.iter().take(nearest).fold(0.0, |sum, x| sum + x)
    };
    let mut scored: Vec<(f64, usize)> = among.iter().map(|i| (score(*i), *i)).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.into_iter().map(|(_, i)| i).collect()
}

/// Returns the n − 2 f vectors that Bulyan selects (El Mhamdi et al. 2018, "The hidden vulnerability of distributed learning
/// in Byzantium"): Krum's choice, then Krum's choice among the others, and so on.
pub(super) fn bulyan(span: &Span, f: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..span.len()).collect();
    let mut chosen = vec![];
    while chosen.len() < span.len().saturating_sub(2 * f).max(1) {
        let Some(next) = by_score(span, &left, f, Neighbours::Paper).first().copied() else {
            break;
        };
        left.retain(|i| *i != next);
        chosen.push(next);
    }
    chosen.sort_unstable();
    chosen
}

/// Returns the n − f vectors whose largest distance is the least (minimum diameter averaging: El Mhamdi et al. 2018; Rousseeuw
/// 1985). Of subsets with the same largest distance it is the one with the least sum of squared distances, and then the first
/// in lexical order.
pub(super) fn mda(span: &Span, f: usize) -> Vec<usize> {
    let mut search = Search {
        span,
        keep: span.len().saturating_sub(f).max(1),
        best: None,
        chosen: vec![],
    };
    search.extend(0, (0.0, 0.0));
    search.best.map_or(vec![], |(_, chosen)| chosen)
}

/// The largest squared distance of some vectors, and the sum of all. Both only grow with further vectors.
type Spread = (f64, f64);

struct Search<'a> {
    span: &'a Span,
    keep: usize,
    best: Option<(Spread, Vec<usize>)>,
    chosen: Vec<usize>,
}

impl Search<'_> {
    /// Tries all ways to complete the chosen vectors with those from `next` on.
    fn extend(&mut self, next: usize, spread: Spread) {
        let worse = |least: &Spread| spread.0.total_cmp(&least.0).then(spread.1.total_cmp(&least.1)).is_ge();
        if self.best.as_ref().is_some_and(|(least, _)| worse(least)) {
            return;
        }
        if self.chosen.len() == self.keep {
            self.best = Some((spread, self.chosen.clone()));
            return;
        }
        let still = self.keep - self.chosen.len();
        for i in next..=self.span.len().saturating_sub(still) {
            let far = self.chosen.iter().map(|j| self.span.distance2(i, *j));
            let wider = far.fold(spread, |(most, sum), distance| (most.max(distance), sum + distance));
            self.chosen.push(i);
            self.extend(i + 1, wider);
            self.chosen.pop();
        }
    }
}
