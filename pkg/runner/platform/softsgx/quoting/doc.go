// Package quoting is the quoting enclave and the provisioning certification
// enclave (PCE) of the software platform. It turns a REPORT that an enclave of
// this machine has made for it into a quote version 3, signed by a hierarchy that
// is made at first use:
//
//	root CA ─┬─ PCK platform CA ── PCK of this machine ── attestation key
//	         └─ TCB signing: TCB info, QE identity
//
// and issues the documents that a verifier wants with a quote.
//
// Trust: none of it protects anything. All keys are in one file that the host can
// read, so whoever has the file can quote enclaves that never ran. It behaves
// like the real one so that there is one verifier for both; that the platform is
// a software one is in the names of all certificates, in the QE vendor id and in
// the root, which no verifier accepts unless it is told to.
//
// Both enclaves are measured and initialised, and get their report keys, by the
// rules of package microcode; but their code is this package.
package quoting

// The marks of the software platform.
const (
	// VendorID is the QE vendor id in each quote.
	VendorID = "eos software SGX"
	// FMSPC is the kind of machine in each PCK certificate: "SW" for software.
	FMSPC = "eosSW\x00"
	// NamePrefix is before the name of each certificate, "SGX Root CA" and so on.
	NamePrefix = "eos Software"
	// Organization is the O of each certificate.
	Organization = "eos software platform, no protection"
)
