// Package boot is the runtime's beginning and end: it takes the host's start
// configuration, brings up what the modules need, serves them over RA-TLS, and
// flushes and stops when it is asked to.
//
// What it trusts is what is measured: its own code, the modules, the image's
// environment and payload. The start configuration, the clock and every answer of
// the host are claims. Those that matter to a client are leaves of the attested
// configuration, so that whoever relies on them sees them.
//
// The core's leaves:
//
//	core.ca_cert              the intermediary CA, DER
//	core.evidence             where the quote is: "leaf", "session" or "both-by-sni"
//	core.hosts                the names in the platform's certificate, joined by commas
//	core.leaf                 "per-connection", or how long a leaf is shared
//	core.modules              the modules in their order, joined by commas
//	core.operator             SHA-256 of the operator's token in hex; absent: there is none
//	core.payload              SHA-256 of what is appended to the image, hex; absent: nothing is
//	core.runtime              the version of the runtime and of Go
//	core.attestation_servers  their URLs, sorted, joined by line ends; absent: none
package boot
