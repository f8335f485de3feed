package egoreport

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/edgelesssys/ego/attestation"
	"github.com/edgelesssys/ego/attestation/tcbstatus"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
	"github.com/enclaveos/eos/pkg/sgx"
)

func verifier(p *attesttest.Platform) *attest.Verifier {
	return &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }}
}

func TestVerifyRemoteReport(t *testing.T) {
	p := attesttest.New(t)
	p.Report.Attributes.Flags |= sgx.AttrDebug
	e := p.Mint()
	r, err := VerifyRemoteReport(verifier(p), attest.AppendOEReport(nil, attest.OERemote, e.Quote), e.Collateral)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Data, p.Report.ReportData[:]) || r.SecurityVersion != uint(p.Report.ISVSVN) || !r.Debug || !bytes.Equal(r.UniqueID, p.Report.MREnclave[:]) ||
		!bytes.Equal(r.SignerID, p.Report.MRSigner[:]) || !bytes.Equal(r.ProductID, append([]byte{byte(p.Report.ISVProdID), 0}, make([]byte, 14)...)) ||
		r.TCBStatus != tcbstatus.UpToDate || len(r.TCBAdvisories) != 0 || r.TCBAdvisoriesErr != nil {
		t.Errorf("%+v", r)
	}
}

// Every status comes with ego's sentinel and a filled report, except UpToDate.
func TestStatuses(t *testing.T) {
	for s, want := range map[string]tcbstatus.Status{
		"UpToDate": tcbstatus.UpToDate, "SWHardeningNeeded": tcbstatus.SWHardeningNeeded, "ConfigurationNeeded": tcbstatus.ConfigurationNeeded,
		"ConfigurationAndSWHardeningNeeded": tcbstatus.ConfigurationAndSWHardeningNeeded, "OutOfDate": tcbstatus.OutOfDate,
		"OutOfDateConfigurationNeeded": tcbstatus.OutOfDateConfigurationNeeded, "Revoked": tcbstatus.Revoked,
	} {
		p := attesttest.New(t)
		p.TCB.Levels[0].Status, p.TCB.Levels[0].Advisories = s, []string{"INTEL-SA-00001"}
		e := p.Mint()
		r, err := VerifyRemoteReport(verifier(p), attest.AppendOEReport(nil, attest.OERemote, e.Quote), e.Collateral)
		if (err == nil) != (want == tcbstatus.UpToDate) || err != nil && !errors.Is(err, attestation.ErrTCBLevelInvalid) {
			t.Errorf("%s: %v", s, err)
		}
		if r.TCBStatus != want || len(r.UniqueID) != 32 || !slices.Equal(r.TCBAdvisories, []string{"INTEL-SA-00001"}) {
			t.Errorf("%s: %+v", s, r)
		}
	}
	if Status(attest.StatusUnknown) != tcbstatus.Unknown || Status(99) != tcbstatus.Unknown {
		t.Error("an unknown status is known")
	}
}

// No error comes with ego's zero value, which says UpToDate.
func TestRefused(t *testing.T) {
	p, td := attesttest.New(t), attesttest.NewTDX(t)
	e, tde := p.Mint(), td.Mint()
	bad := slices.Clone(e.Quote)
	bad[100] ^= 1
	wrap := func(t attest.OEType, b []byte) []byte { return attest.AppendOEReport(nil, t, b) }
	for name, c := range map[string]struct {
		v      *attest.Verifier
		report []byte
		coll   *attest.Collateral
		want   error
	}{
		"empty":         {verifier(p), nil, e.Collateral, attestation.ErrEmptyReport},
		"no header":     {verifier(p), e.Quote, e.Collateral, nil},
		"local":         {verifier(p), wrap(attest.OELocal, e.Quote), e.Collateral, nil},
		"altered":       {verifier(p), wrap(attest.OERemote, bad), e.Collateral, nil},
		"no collateral": {verifier(p), wrap(attest.OERemote, e.Quote), nil, nil},
		"other root":    {verifier(td), wrap(attest.OERemote, e.Quote), e.Collateral, nil},
		"TDX":           {verifier(td), wrap(attest.OERemote, tde.Quote), tde.Collateral, nil},
	} {
		r, err := VerifyRemoteReport(c.v, c.report, c.coll)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || errors.Is(err, attestation.ErrTCBLevelInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if r.TCBStatus != tcbstatus.Unknown || r.UniqueID != nil || r.Data != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, r := range []*attest.Result{{}, {Status: attest.UpToDate}} {
		if got, err := FromResult(r, nil); err == nil || got.TCBStatus != tcbstatus.Unknown {
			t.Errorf("made by hand: %+v %v", got, err)
		}
	}
}
