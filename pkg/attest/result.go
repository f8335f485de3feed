package attest

import (
	"crypto/x509"
	"time"
)

// Result is what a Verifier found out. On refusal it keeps the facts that
// were established; only a Result of a verification without failure can be
// appraised.
type Result struct {
	Time     time.Time // the clock's value that every date was compared with
	Quote    *Quote    // nil if the bytes are no quote
	Passed   []Step    // steps that held, in order
	Failures []*Error  // what did not hold, in order; the first is what Verify returned

	Root       string              // name of the pinned root that the chain ends in
	PCK        *PCKExtensions      // nil unless the chain holds
	Chain      []*x509.Certificate // PCK leaf, CA, root; nil unless the chain holds
	Collateral CollateralFacts

	// Status is Unknown unless every step passed.
	Status     TCBStatus
	Advisories []string // of the matched levels of platform, QE and TDX module

	Platform *PlatformFacts // nil unless TCB info holds and a level matched
	QE       *EnclaveFacts  // nil unless the QE identity holds and a level matched
	Module   *EnclaveFacts  // TDX only: the TDX module

	verified bool
}

// CollateralFacts are the dates and numbers of the collateral used; zero
// where a document could not be read.
type CollateralFacts struct {
	TCBInfo, QEIdentity         Validity
	PCKCRL, RootCRL             Validity
	TCBEvaluation, QEEvaluation uint32    // tcbEvaluationDataNumber
	Expires                     time.Time // the first of all dates, certificates included
}

// Validity is when a document was issued and when it ends.
type Validity struct{ Issued, Expires time.Time }

// PlatformFacts tell how far behind a platform is.
type PlatformFacts struct {
	Matched, Newest TCBLevel
	Index, Levels   int // Matched is number Index of Levels, 0 is the newest
}

// EnclaveFacts tell the same of a quoting enclave or a TDX module.
type EnclaveFacts struct {
	ID              string // "QE", "TD_QE", "TDX_01"
	ISVSVN          uint16
	Matched, Newest EnclaveLevel
	Index, Levels   int
}
