package wire

// The methods of the quoting enclave.
const (
	QEGetTargetInfo Method = 0x0400 // nothing → TARGETINFO, 512 bytes
	QEGetQuote      Method = 0x0401 // REPORT, 432 bytes → a quote
	QEGetCollateral Method = 0x0402 // nothing → the collateral of such quotes, in the JSON form of package attest
)
