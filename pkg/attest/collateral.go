package attest

// SignedJSON is a JSON text and its signature. The signature is over exactly
// these bytes, so they are kept as they came.
type SignedJSON struct {
	Body      []byte   // the value of "tcbInfo" or "enclaveIdentity"
	Signature [64]byte // ECDSA P-256, r then s, big-endian
}

// Collateral is what Intel, or whoever owns the root, says about a platform.
// Its JSON form is the offline bundle: see [ParseCollateral].
type Collateral struct {
	TCBInfo         SignedJSON
	TCBInfoChain    []byte // PEM: signing certificate, root
	QEIdentity      SignedJSON
	QEIdentityChain []byte // PEM: signing certificate, root
	PCKCRL          []byte // DER
	PCKCRLChain     []byte // PEM: PCK CA, root
	RootCRL         []byte // DER
}
