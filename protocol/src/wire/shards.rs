//! The map of shards, the same in the handshake and in an answer.

use super::put_text;
use crate::cursor::{Cursor, DecodeError};
use crate::limits::{MAX_ADDRESS_BYTES, MAX_NODES, MAX_SHARDS};
use crate::reply::{NodeAddress, ShardMap};
use crate::types::NodeId;

/// Appends the leaders by shard, then the nodes' addresses.
pub fn put_shard_map(map: &ShardMap, out: &mut Vec<u8>) {
    super::put_count(map.leaders.len(), out);
    for leader in &map.leaders {
        out.extend_from_slice(&leader.map_or(0, |node| node.0).to_le_bytes());
    }
    super::put_count(map.nodes.len(), out);
    for node in &map.nodes {
        out.extend_from_slice(&node.node.0.to_le_bytes());
        put_text(&node.address, MAX_ADDRESS_BYTES, out);
    }
}

/// Reads a map of shards.
pub fn get_shard_map(cursor: &mut Cursor<'_>) -> Result<ShardMap, DecodeError> {
    let shards = cursor.count(MAX_SHARDS.into(), "list of shards")?;
    let leaders = (0..shards).map(|_| get_leader(cursor)).collect::<Result<_, _>>()?;
    let nodes = cursor.count(MAX_NODES, "list of nodes")?;
    let nodes = (0..nodes).map(|_| get_node(cursor)).collect::<Result<_, _>>()?;
    Ok(ShardMap { leaders, nodes })
}

fn get_leader(cursor: &mut Cursor<'_>) -> Result<Option<NodeId>, DecodeError> {
    let node = cursor.u16("leader's node id")?;
    Ok((node != 0).then_some(NodeId(node)))
}

fn get_node(cursor: &mut Cursor<'_>) -> Result<NodeAddress, DecodeError> {
    let node = NodeId(cursor.u16("node id")?);
    Ok(NodeAddress { node, address: cursor.text(MAX_ADDRESS_BYTES, "node's address")?.to_owned() })
}
