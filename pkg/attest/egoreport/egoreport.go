// Package egoreport gives the results of pkg/attest in the words of
// github.com/edgelesssys/ego, so that programs that use its attestation.Report
// can verify without cgo and Open Enclave. It is the only package that
// imports ego, and of that only the types.
package egoreport

import (
	"encoding/binary"
	"errors"

	"github.com/edgelesssys/ego/attestation"
	"github.com/edgelesssys/ego/attestation/tcbstatus"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/sgx"
)

// VerifyRemoteReport verifies a report as ego's function of that name does:
// a quote behind the 16-byte header of Open Enclave. The errors are ego's
// where it has one:
//
//	attestation.ErrEmptyReport        report is empty
//	attestation.ErrTCBLevelInvalid    together with a filled report: all is
//	                                  verified, but the TCB is not up to date
//	*attest.Error                     the rest
//
// As with ego, the caller must then check what the report says.
func VerifyRemoteReport(v *attest.Verifier, report []byte, c *attest.Collateral) (attestation.Report, error) {
	if len(report) == 0 {
		return unknown(), attestation.ErrEmptyReport
	}
	t, quote, err := attest.ParseOEReport(report)
	if err != nil {
		return unknown(), err
	}
	if t != attest.OERemote {
		return unknown(), &attest.Error{Step: attest.StepQuote, What: "report type", Want: "2 (remote)", Got: "1 (local)"}
	}
	return FromResult(v.Verify(quote, c))
}

// FromResult converts what Verifier.Verify returned. Without a verified quote
// the report is empty except for the status Unknown: the zero value of ego's
// would say UpToDate.
func FromResult(r *attest.Result, err error) (attestation.Report, error) {
	revoked := false
	var e *attest.Error
	if errors.As(err, &e) {
		revoked = r != nil && e.Step == attest.StepTCBLevel && r.Status == attest.Revoked
	}
	switch {
	case err != nil && !revoked:
		return unknown(), err
	case r == nil || len(r.Passed) == 0 || r.Status == attest.StatusUnknown:
		return unknown(), errors.New("egoreport: not the result of a verification")
	case r.Quote.TEE != attest.SGX:
		return unknown(), &attest.Error{Step: attest.StepPolicyTEE, What: "kind of quote", Want: "SGX", Got: r.Quote.TEE.String(),
			Hint: "ego's report has no fields for it"}
	}
	b := r.Quote.Report
	product := make([]byte, 16)
	binary.LittleEndian.PutUint16(product, b.ISVProdID)
	report := attestation.Report{
		Data:            append([]byte(nil), b.ReportData[:]...),
		SecurityVersion: uint(b.ISVSVN),
		Debug:           b.Attributes.Flags&sgx.AttrDebug != 0,
		UniqueID:        append([]byte(nil), b.MREnclave[:]...),
		SignerID:        append([]byte(nil), b.MRSigner[:]...),
		ProductID:       product,
		TCBStatus:       Status(r.Status),
		TCBAdvisories:   append([]string(nil), r.Advisories...),
	}
	if r.Status != attest.UpToDate {
		return report, attestation.ErrTCBLevelInvalid
	}
	return report, nil
}

// Status converts a status.
func Status(s attest.TCBStatus) tcbstatus.Status {
	switch s {
	case attest.UpToDate:
		return tcbstatus.UpToDate
	case attest.SWHardeningNeeded:
		return tcbstatus.SWHardeningNeeded
	case attest.ConfigurationNeeded:
		return tcbstatus.ConfigurationNeeded
	case attest.ConfigurationAndSWHardeningNeeded:
		return tcbstatus.ConfigurationAndSWHardeningNeeded
	case attest.OutOfDate:
		return tcbstatus.OutOfDate
	case attest.OutOfDateConfigurationNeeded:
		return tcbstatus.OutOfDateConfigurationNeeded
	case attest.Revoked:
		return tcbstatus.Revoked
	}
	return tcbstatus.Unknown
}

func unknown() attestation.Report { return attestation.Report{TCBStatus: tcbstatus.Unknown} }
