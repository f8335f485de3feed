package attest

import "time"

// TCBInfo is a parsed TCB info, version 2 or 3.
type TCBInfo struct {
	ID             string // "SGX" or "TDX"; version 2 is always SGX
	Version        int
	IssueDate      time.Time
	NextUpdate     time.Time
	FMSPC          [6]byte
	PCEID          [2]byte
	TCBType        int
	EvaluationData uint32
	Module         *TDXModule // TDX only
	Modules        []TDXModuleIdentity
	Levels         []TCBLevel // newest first
}

// TCBLevel is one row of a TCB info.
type TCBLevel struct {
	SGX        [16]uint8
	TDX        *[16]uint8 // TDX only
	PCESVN     uint16
	Date       time.Time
	Status     TCBStatus
	Advisories []string
}

// TDXModule is what the measurement and attributes of a TDX module must be.
type TDXModule struct {
	MRSigner                   [48]byte
	Attributes, AttributesMask [8]byte
}

// TDXModuleIdentity is a TDXModule of one major version, with levels.
type TDXModuleIdentity struct {
	ID string // "TDX_01"
	TDXModule
	Levels []EnclaveLevel
}

// EnclaveLevel is one row of a QE identity or of a TDX module identity.
type EnclaveLevel struct {
	ISVSVN     uint16
	Date       time.Time
	Status     TCBStatus
	Advisories []string
}

// QEIdentity is a parsed enclave identity, version 2.
type QEIdentity struct {
	ID                         string // "QE" or "TD_QE"
	Version                    int
	IssueDate                  time.Time
	NextUpdate                 time.Time
	EvaluationData             uint32
	MiscSelect, MiscSelectMask [4]byte // as in the report, little-endian
	Attributes, AttributesMask [16]byte
	MRSigner                   [32]byte
	ISVProdID                  uint16
	Levels                     []EnclaveLevel // newest first
}
