//! Who sends how many clients to whom, so that every node has its even share.

use std::collections::VecDeque;

/// So many clients of one node go to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Places in the list of nodes.
    pub from: usize,
    pub to: usize,
    pub clients: u64,
}

/// The even share of each node: what does not divide stays with those that have most, so that nobody moves for it.
pub fn shares(connected: &[u64]) -> Vec<u64> {
    let nodes = connected.len().max(1) as u64;
    let total: u64 = connected.iter().sum();
    let mut by_size: Vec<usize> = (0..connected.len()).collect();
    by_size.sort_by_key(|node| (std::cmp::Reverse(connected[*node]), *node));
    let mut shares = vec![total / nodes; connected.len()];
    for node in by_size.into_iter().take(usize::try_from(total % nodes).unwrap_or(0)) {
        shares[node] += 1;
    }
    shares
}

/// The fewest clients that have to move.
pub fn moves(connected: &[u64], shares: &[u64]) -> Vec<Move> {
    let beyond = |a: &[u64], b: &[u64]| -> VecDeque<(usize, u64)> {
        let all = a.iter().zip(b).map(|(a, b)| a.saturating_sub(*b)).enumerate();
        all.filter(|(_, clients)| *clients > 0).collect()
    };
    let (mut give, mut take) = (beyond(connected, shares), beyond(shares, connected));
    let mut moves = Vec::new();
    while let (Some((from, more)), Some((to, room))) = (give.front_mut(), take.front_mut()) {
        let clients = (*more).min(*room);
        moves.push(Move { from: *from, to: *to, clients });
        (*more, *room) = (*more - clients, *room - clients);
        let (is_even, is_full) = (*more == 0, *room == 0);
        if is_even {
            give.pop_front();
        }
        if is_full {
            take.pop_front();
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(connected: &[u64]) -> (Vec<u64>, u64) {
        let moves = moves(connected, &shares(connected));
        let mut now = connected.to_vec();
        for Move { from, to, clients } in &moves {
            now[*from] -= clients;
            now[*to] += clients;
        }
        (now, moves.iter().map(|one| one.clients).sum())
    }

    #[test]
    fn every_node_has_its_even_share_afterwards() {
        assert_eq!(after(&[10, 0, 2]), (vec![4, 4, 4], 6));
        assert_eq!(after(&[0, 0, 0, 9]).0.iter().max(), Some(&3));
        assert_eq!(after(&[1_000_000, 0]), (vec![500_000, 500_000], 500_000));
    }

    #[test]
    fn nobody_moves_for_what_does_not_divide() {
        for even in [&[3_u64, 4, 4][..], &[1, 0], &[0, 0], &[7], &[]] {
            assert_eq!(after(even), (even.to_vec(), 0));
        }
    }
}
