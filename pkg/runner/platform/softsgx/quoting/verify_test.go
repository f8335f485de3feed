package quoting

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/sgx"
)

// evidence is a quote of an enclave on this platform, and its collateral.
func evidence(t *testing.T, q *Quoter, flags sgx.AttrFlags) ([]byte, *attest.Collateral) {
	t.Helper()
	quote, err := q.Quote(reportFor(t, testDevice(), anEnclave(t, testDevice(), flags), q.TargetInfo(), [64]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	c, err := q.Collateral()
	if err != nil {
		t.Fatal(err)
	}
	return quote, c
}

// trusting is a verifier that trusts the software root, as one does by a loudly
// named option.
func trusting(t *testing.T, q *Quoter) *attest.Verifier {
	t.Helper()
	roots := attest.IntelRoots()
	if err := roots.Add("software platform", q.Root()); err != nil {
		t.Fatal(err)
	}
	return &attest.Verifier{Roots: roots}
}

func stepOf(err error) attest.Step {
	var e *attest.Error
	if errors.As(err, &e) {
		return e.Step
	}
	return ""
}

// TestIntelRootRefusesSoftware is the promise of the software platform: who has not
// been told to trust its root does not.
func TestIntelRootRefusesSoftware(t *testing.T) {
	q := openTest(t, t.TempDir())
	quote, c := evidence(t, q, 0)
	for name, v := range map[string]*attest.Verifier{
		"Intel's root":                {Roots: attest.IntelRoots()},
		"no root":                     {},
		"the root of another machine": trusting(t, openTest(t, t.TempDir())),
	} {
		r, err := v.Verify(quote, c)
		if stepOf(err) != attest.StepPCKChain || !strings.Contains(err.Error(), "root that is not trusted") {
			t.Errorf("%s: %v", name, err)
		}
		if r.Status != attest.StatusUnknown || r.Root != "" {
			t.Errorf("%s: status %v of root %q", name, r.Status, r.Root)
		}
	}
	r, err := trusting(t, q).Verify(quote, c)
	if err != nil || r.Status != attest.UpToDate || r.Root != "software platform" {
		t.Fatalf("who trusts it: %v, %v of %q", err, r.Status, r.Root)
	}
	for _, c := range r.Chain {
		if !strings.HasPrefix(c.Subject.CommonName, NamePrefix+" SGX ") || c.Subject.Organization[0] != Organization {
			t.Errorf("a certificate is called %v", c.Subject)
		}
	}
	if string(r.Quote.QEVendorID[:]) != VendorID || string(r.PCK.FMSPC[:]) != FMSPC {
		t.Errorf("vendor %q, FMSPC %q", r.Quote.QEVendorID, r.PCK.FMSPC)
	}
}

// TestStatuses brings about each status by TCBFile.
func TestStatuses(t *testing.T) {
	dir := t.TempDir()
	q := openTest(t, dir)
	for _, c := range []struct {
		tcb        TCB
		step       attest.Step
		status     attest.TCBStatus
		advisories []string
	}{
		{tcb: TCB{}, status: attest.UpToDate},
		{tcb: TCB{Status: "UpToDate"}, status: attest.UpToDate},
		{tcb: TCB{Status: "SWHardeningNeeded", Advisories: []string{"A"}}, status: attest.SWHardeningNeeded, advisories: []string{"A"}},
		{tcb: TCB{Status: "ConfigurationNeeded"}, status: attest.ConfigurationNeeded},
		{tcb: TCB{Status: "ConfigurationAndSWHardeningNeeded"}, status: attest.ConfigurationAndSWHardeningNeeded},
		{tcb: TCB{Status: "OutOfDate", Advisories: []string{"A", "B"}}, status: attest.OutOfDate, advisories: []string{"A", "B"}},
		{tcb: TCB{Status: "OutOfDateConfigurationNeeded"}, status: attest.OutOfDateConfigurationNeeded},
		{tcb: TCB{Status: "SWHardeningNeeded", Advisories: []string{"A"}, QEStatus: "OutOfDate", QEAdvisories: []string{"C"}},
			status: attest.OutOfDate, advisories: []string{"A", "C"}},
		{tcb: TCB{Status: "Revoked"}, step: attest.StepTCBLevel, status: attest.Revoked},
		{tcb: TCB{QEStatus: "Revoked"}, step: attest.StepTCBLevel, status: attest.Revoked},
		{tcb: TCB{RevokedPCK: true}, step: attest.StepRevocation},
		{tcb: TCB{RevokedCA: true}, step: attest.StepRevocation},
	} {
		b, err := json.Marshal(c.tcb)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, TCBFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		quote, collateral := evidence(t, q, 0)
		r, err := trusting(t, q).Verify(quote, collateral)
		if stepOf(err) != c.step || (err == nil) != (c.step == "") || r.Status != c.status || !slices.Equal(r.Advisories, c.advisories) {
			t.Errorf("%s: %v, status %v %v, want %v %v refused by %q", b, err, r.Status, r.Advisories, c.status, c.advisories, c.step)
		}
		if newest := r.Platform; newest != nil && (newest.Newest.Status != attest.UpToDate || newest.Levels != 1+newest.Index) {
			t.Errorf("%s: %+v", b, newest)
		}
	}
}

// TestDebugEnclave: a debug enclave has a quote, which says so.
func TestDebugEnclave(t *testing.T) {
	q := openTest(t, t.TempDir())
	for _, flags := range []sgx.AttrFlags{0, sgx.AttrDebug} {
		quote, c := evidence(t, q, flags)
		r, err := trusting(t, q).Verify(quote, c)
		if err != nil || r.Quote.Debug() != (flags != 0) {
			t.Errorf("%v: %v, debug %v", flags, err, r.Quote.Debug())
		}
	}
}

// TestBundle: what the RPC channel hands out is read again as the same collateral.
func TestBundle(t *testing.T) {
	q := openTest(t, t.TempDir())
	quote, _ := evidence(t, q, 0)
	status, b := q.Handlers()[0x0402](t.Context(), nil)
	if status != 0 {
		t.Fatalf("status %d: %s", status, b)
	}
	c, err := attest.ParseCollateral(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trusting(t, q).Verify(quote, c); err != nil {
		t.Error(err)
	}
}
