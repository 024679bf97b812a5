//! The proof that one knows the cluster's secret: HMAC-SHA-256 (RFC 2104) over what both ends said.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const BLOCK: usize = 64;

/// A proof, as long as a SHA-256 hash.
pub(super) type Proof = [u8; 32];

/// HMAC-SHA-256 of all `parts`, one after the other.
pub(super) fn prove(secret: &[u8], parts: &[&[u8]]) -> Proof {
    let mut key = [0; BLOCK];
    if secret.len() > BLOCK {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let mut inner = Sha256::new_with_prefix(key.map(|byte| byte ^ 0x36));
    parts.iter().for_each(|part| inner.update(part));
    let outer = Sha256::new_with_prefix(key.map(|byte| byte ^ 0x5c)).chain_update(inner.finalize());
    outer.finalize().into()
}

/// Equal? Takes the same time whatever differs.
pub(super) fn same(one: &Proof, other: &Proof) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(proof: Proof) -> String {
        proof.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231, test cases 2, 1 and 6.
    #[test]
    fn is_hmac_sha_256() {
        let proof = prove(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex(proof), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let proof = prove(&[0x0b; 20], &[b"Hi There"]);
        assert_eq!(hex(proof), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let proof = prove(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(hex(proof), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        assert!(same(&[1; 32], &[1; 32]) && !same(&[1; 32], &[2; 32]));
    }
}
