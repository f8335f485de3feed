// Package attest verifies SGX and TDX quotes and appraises what they say.
//
// Two things are kept apart. [Verifier.Verify] finds out what is true: that
// the quote comes from a genuine platform, by certificates that end in a root
// the caller pins, which nobody revoked, and what Intel says of the state of
// that platform. [Policy.Appraise] then says whether what is true is what the
// caller wishes: which enclave, which signer, debug or not, which TCB status.
// The zero Verifier trusts no root and the zero Policy accepts nothing;
// nothing is ever "not checked because it is empty".
//
// The package needs the standard library only, no cgo, no network and no
// files: collateral (TCB info, QE identity and CRLs) is handed in. It builds
// wherever Go builds, js/wasm and wasip1 included.
//
// Formats: Intel, "Quote Generation, Verification, and Attestation with Intel
// SGX DCAP", appendix A.4 (quote version 3 and 4), and the PCS API version 3
// and 4 for the collateral.
package attest
