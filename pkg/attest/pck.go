package attest

// PCKExtensions are the facts in the SGX extension (1.2.840.113741.1.13.1) of
// a PCK certificate.
type PCKExtensions struct {
	PPID    [16]byte
	TCB     [16]uint8 // component SVNs
	PCESVN  uint16
	CPUSVN  [16]byte
	PCEID   [2]byte
	FMSPC   [6]byte
	SGXType uint8 // 0 standard, 1 scalable, 2 scalable with integrity

	// Of certificates by the platform CA only.
	PlatformInstanceID *[16]byte
	Configuration      *PCKConfiguration
}

// PCKConfiguration says how a multi-package platform is set up.
type PCKConfiguration struct {
	DynamicPlatform, CachedKeys, SMTEnabled *bool // nil: not said
}
