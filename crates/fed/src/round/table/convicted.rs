//! The set of nodes that are convicted on a branch. It shares as much as possible with the set of the parent.

use std::sync::Arc;

use crate::id::NodeId;

/// A set of nodes. Every checkpoint has such a set, and an open model may convict any number of identities. So a child's set is
/// made in a few steps and shares the rest of the tree with its parent's set.
#[derive(Debug, Clone, Default)]
pub(in crate::round) struct Convicted(Link);

type Link = Option<Arc<Branch>>;

/// A binary tree over the bits of the ids, the first bit at the root.
#[derive(Debug)]
enum Branch {
    One(NodeId),
    /// The nodes whose next bit is 0, and the nodes whose next bit is 1.
    Two([Link; 2]),
}

fn bit(node: &NodeId, depth: usize) -> usize {
    usize::from(node.0[depth / 8] >> (7 - depth % 8) & 1)
}

fn insert(into: Link, node: NodeId, depth: usize) -> Arc<Branch> {
    let mut sides = match into.as_deref() {
        None => return Arc::new(Branch::One(node)),
        Some(Branch::Two(sides)) => sides.clone(),
        Some(Branch::One(other)) => {
            // Two different ids differ in some bit, so the tree is at most as deep as the ids are long.
            let mut sides = [None, None];
            sides[bit(other, depth)] = into.clone();
            sides
        }
    };
    let side = &mut sides[bit(&node, depth)];
    *side = Some(insert(side.take(), node, depth + 1));
    Arc::new(Branch::Two(sides))
}

impl Convicted {
    pub fn contains(&self, node: &NodeId) -> bool {
        let mut at = &self.0;
        let mut depth = 0;
        while let Some(branch) = at.as_deref() {
            match branch {
                Branch::One(other) => return other == node,
                Branch::Two(sides) => at = &sides[bit(node, depth)],
            }
            depth += 1;
        }
        false
    }

    /// All nodes of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> {
        let mut open: Vec<Link> = vec![self.0.clone()];
        std::iter::from_fn(move || {
            while let Some(link) = open.pop() {
                match link.as_deref() {
                    None => {}
                    Some(Branch::One(node)) => return Some(*node),
                    Some(Branch::Two(sides)) => open.extend(sides.iter().rev().cloned()),
                }
            }
            None
        })
    }

    /// Adds a node. Returns true if it was not in the set.
    pub fn insert(&mut self, node: NodeId) -> bool {
        let news = !self.contains(&node);
        if news {
            self.0 = Some(insert(self.0.take(), node, 0));
        }
        news
    }
}

impl FromIterator<NodeId> for Convicted {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::default();
        nodes.into_iter().for_each(|node| {
            set.insert(node);
        });
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_in_and_leaves_older_copies_alone() {
        let id = |n: u32| NodeId(*blake3::hash(&n.to_le_bytes()).as_bytes());
        let mut set = Convicted::default();
        let mut copies = vec![];
        for n in 0..1_000 {
            copies.push(set.clone());
            assert!(set.insert(id(n)));
            assert!(!set.insert(id(n)));
        }
        for (n, copy) in copies.iter().enumerate() {
            let held = (0..1_000).filter(|m| copy.contains(&id(*m))).count();
            assert_eq!(held, n);
            let all: Vec<_> = copy.iter().collect();
            assert!(all.len() == n && all.is_sorted());
        }
    }

    #[test]
    fn ids_that_differ_in_the_last_bit_only_are_two() {
        let (mut one, mut two) = ([7; 32], [7; 32]);
        one[31] = 0;
        two[31] = 1;
        let mut set = Convicted::default();
        assert!(set.insert(NodeId(one)));
        assert!(!set.contains(&NodeId(two)));
        assert!(set.insert(NodeId(two)));
        assert!(set.contains(&NodeId(one)) && set.contains(&NodeId(two)));
    }
}
