package attest

import (
	"crypto/x509"
	"time"
)

// Result is what a Verifier found out. On refusal it keeps the facts that
// were established; only the Result of a verification without failure can be
// appraised.
type Result struct {
	Time     time.Time // the clock's value that every date was compared with
	Quote    *Quote    // nil if the bytes are no quote; nothing in it is true unless the steps say so
	Passed   []Step    // steps that held, in order
	Failures []*Error  // steps that did not hold, in order; Verify returned the first

	// Of a chain whose signatures lead to a pinned root.
	Root  string              // name of the root
	Chain []*x509.Certificate // PCK leaf, CA, root
	PCK   *PCKExtensions

	Collateral CollateralFacts

	// Status is what Intel's rules make of the three statuses below. It is
	// Unknown unless every step passed, or Revoked if the only failure is
	// that a level is revoked.
	Status     TCBStatus
	Advisories []string // of the matched levels below, each once

	Platform *PlatformFacts // set if TCB info is signed and of this platform, and a level matched
	QE       *EnclaveFacts  // set if QE identity and QE report are signed and go together, and a level matched
	Module   *EnclaveFacts  // TDX with versioned modules only: set if the module is known and a level matched

	verified bool
}

// CollateralFacts are the dates and numbers of the collateral; zero where a
// document's signature did not hold.
type CollateralFacts struct {
	TCBInfo, QEIdentity         Validity
	PCKCRL, RootCRL             Validity
	TCBEvaluation, QEEvaluation uint32    // tcbEvaluationDataNumber
	Expires                     time.Time // the first of all dates, certificates included
	ExpiresFirst                string    // what that date is of
}

// Validity is when a document was issued and until when it holds.
type Validity struct{ Issued, Expires time.Time }

// PlatformFacts tell how far behind a platform is.
type PlatformFacts struct {
	Matched, Newest TCBLevel
	Index, Levels   int // Matched is number Index of Levels; 0 is the newest
}

// EnclaveFacts tell the same of a quoting enclave or a TDX module.
type EnclaveFacts struct {
	ID              string // "QE", "TD_QE", "TDX_01"
	ISVSVN          uint16
	Matched, Newest EnclaveLevel
	Index, Levels   int
}
