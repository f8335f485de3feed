package ratls

import (
	"encoding/asn1"
	"fmt"
	"slices"

	"github.com/enclaveos/eos/pkg/attest"
)

// Object identifiers of evidence in a certificate.
var (
	// OIDQuote holds a raw SGX quote whose report data is DeterministicReportData.
	OIDQuote = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 0}
	// OIDTDXQuote holds a raw TDX quote. We name it and do not read it.
	OIDTDXQuote = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 5, 5, 1, 6}
	// OIDDICE holds the evidence in the form of the Interoperable RA-TLS formats:
	// tcg-dice-conceptual-message-wrapper. See DICE.
	OIDDICE = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 9}
)

// Object identifiers of claims: what a leaf says of the configuration of the enclave
// that made it. They stand below Arc; each value is the raw bytes, without a DER
// wrapping of their own, and never critical. Those of three components below the arc
// are an app's, in the leaf that the app's host names select.
var (
	OIDConfigRoot         = claim(1, 1) // root of the configuration's Merkle tree, 32 bytes
	OIDEgressCAs          = claim(2, 1) // SHA-256 of the CA bundle for connections to the outside
	OIDWASMCode           = claim(2, 3) // SHA-256 of the WASM code
	OIDRuntimeVersion     = claim(2, 4) // SHA-256 of the runtime's version text
	OIDWorkloads          = claim(2, 5) // SHA-256 over the names and code hashes of all workloads
	OIDStateRoot          = claim(2, 6) // root of the state, 32 bytes, and its version, 8 bytes big-endian
	OIDAttestationServers = claim(2, 7) // SHA-256 of the sorted URLs of the attestation servers
	OIDAppConfigRoot      = claim(3, 1) // root of the app's own configuration tree
	OIDAppCode            = claim(3, 2) // SHA-256 of the app's code
	OIDAppImage           = claim(3, 3) // the app's image reference, text
	OIDAppKeySource       = claim(3, 4) // where the app's keys are from, text
	OIDAppConfig          = claim(3, 5) // SHA-256 of the app's configuration
	OIDAppID              = claim(3, 6) // the app's id, 16 bytes
	OIDDependencies       = claim(6, 1) // the set of other enclaves that the app relies on
)

// Arc is the arc of all claims.
var Arc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 65230}

func claim(n ...int) asn1.ObjectIdentifier { return append(slices.Clone(Arc), n...) }

var claimNames = []struct {
	id   asn1.ObjectIdentifier
	name string
}{
	{OIDQuote, "SGX quote"},
	{OIDTDXQuote, "TDX quote"},
	{OIDDICE, "DICE evidence"},
	{OIDConfigRoot, "configuration root"},
	{OIDEgressCAs, "egress CA hash"},
	{OIDWASMCode, "WASM code hash"},
	{OIDRuntimeVersion, "runtime version hash"},
	{OIDWorkloads, "combined workloads hash"},
	{OIDStateRoot, "state root"},
	{OIDAttestationServers, "attestation servers hash"},
	{OIDAppConfigRoot, "app configuration root"},
	{OIDAppCode, "app code hash"},
	{OIDAppImage, "app image"},
	{OIDAppKeySource, "app key source"},
	{OIDAppConfig, "app configuration hash"},
	{OIDAppID, "app id"},
	{OIDDependencies, "attested dependencies"},
}

// OIDName is a person's word for an identifier of this package, or "".
func OIDName(id asn1.ObjectIdentifier) string {
	for _, c := range claimNames {
		if c.id.Equal(id) {
			return c.name
		}
	}
	return ""
}

// Extension is a claim in a leaf.
type Extension = attest.Extension

// Limits of the claims of one leaf: certificates travel in every handshake.
const (
	MaxExtensions     = 64
	MaxExtensionSize  = 4096
	maxExtensionsSize = 16 << 10
)

// checkExtensions refuses claims that are not below Arc, come twice or are too big.
func checkExtensions(exts []Extension) error {
	if len(exts) > MaxExtensions {
		return fmt.Errorf("ratls: %d extensions, at most %d fit into a leaf", len(exts), MaxExtensions)
	}
	total := 0
	for i, e := range exts {
		total += len(e.Value)
		switch {
		case len(e.OID) <= len(Arc) || !e.OID[:len(Arc)].Equal(Arc):
			return fmt.Errorf("ratls: extension %v is not below %v", e.OID, Arc)
		case len(e.Value) == 0:
			return fmt.Errorf("ratls: extension %v is empty: leave it out instead", e.OID)
		case len(e.Value) > MaxExtensionSize:
			return fmt.Errorf("ratls: extension %v has %d bytes, at most %d are allowed", e.OID, len(e.Value), MaxExtensionSize)
		case slices.ContainsFunc(exts[:i], func(o Extension) bool { return o.OID.Equal(e.OID) }):
			return fmt.Errorf("ratls: extension %v comes twice", e.OID)
		}
	}
	if total > maxExtensionsSize {
		return fmt.Errorf("ratls: extensions of %d bytes together, at most %d are allowed", total, maxExtensionsSize)
	}
	return nil
}
