package attest

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
	"time"
)

func phala(t testing.TB, tee string) (quote []byte, c *Collateral) {
	t.Helper()
	c, err := ParseCollateral(vector(t, "quotes", "phala-"+tee, tee+"_quote_collateral.json"))
	if err != nil {
		t.Fatal(err)
	}
	return vector(t, "quotes", "phala-"+tee, tee+"_quote"), c
}

func TestPhalaSGX(t *testing.T) {
	quote, c := phala(t, "sgx")
	v := intel("2025-07-01T00:00:00Z")
	r, err := v.Verify(quote, c)
	if err != nil {
		t.Fatal(err)
	}
	q := r.Quote
	if q.Version != 3 || q.TEE != SGX || q.Debug() ||
		q.Report.MREnclave.String() != "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb" ||
		q.Report.MRSigner.String() != "815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6" {
		t.Errorf("quote: %+v", q)
	}
	if data := q.ReportData(); !bytes.HasPrefix(data[:], []byte("Hello, world!\x00")) {
		t.Errorf("report data %q", data)
	}
	if hex.EncodeToString(r.PCK.FMSPC[:]) != "00a067110000" || r.PCK.PCESVN != 13 || r.PCK.TCB != [16]uint8{11, 11, 2, 2, 255, 1} {
		t.Errorf("PCK: %+v", r.PCK)
	}
	if r.Status != ConfigurationAndSWHardeningNeeded || r.Platform.Index != 1 || r.Platform.Levels != 11 || r.QE.Matched.Status != UpToDate || r.QE.ISVSVN != 10 ||
		!slices.Equal(r.Advisories, []string{"INTEL-SA-00289", "INTEL-SA-00615"}) {
		t.Errorf("TCB: %v %v %+v %+v", r.Status, r.Advisories, r.Platform, r.QE)
	}
	if r.Root != IntelRootName || r.Platform.Newest.Status != SWHardeningNeeded || r.Collateral.TCBEvaluation != 17 {
		t.Errorf("facts: %+v", r)
	}

	wantStep(t, Policy{}.Appraise(r), StepPolicy)
	wantStep(t, upToDate().Appraise(r), StepPolicyTCB)
	if err := accepting(r).Appraise(r); err != nil {
		t.Error(err)
	}
}

func TestPhalaTDX(t *testing.T) {
	quote, c := phala(t, "tdx")
	r, err := intel("2025-07-01T00:00:00Z").Verify(quote, c)
	if err != nil {
		t.Fatal(err)
	}
	q := r.Quote
	if q.Version != 4 || q.TEE != TDX || q.Debug() || q.Padding != 70 || q.CertType != CertPCKChain ||
		Hash48(q.TD.MRTD).String() != "91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407de03ae6dc5f87f27428b2538873118b7" ||
		Hash48(q.TD.RTMR[2]).String() != "d833feef2cd945148aa38ead2c53e9b7f138190aaaebfc551dccd829fc207aa3ba80b70870d7330733642e01d48c3132" ||
		q.TD.TDAttributes != 0x10000000 || q.TD.TEETCBSVN != [16]byte{6, 1, 3} {
		t.Errorf("quote: %+v", q.TD)
	}
	if hex.EncodeToString(r.PCK.FMSPC[:]) != "b0c06f000000" || r.PCK.PlatformInstanceID == nil ||
		hex.EncodeToString(r.PCK.PlatformInstanceID[:]) != "07828474603e7019dc930775ffe8cdd2" || r.PCK.Configuration == nil {
		t.Errorf("PCK: %+v", r.PCK)
	}
	if r.Status != UpToDate || len(r.Advisories) != 0 || r.Platform.Index != 0 || r.QE.ID != "TD_QE" || r.QE.Matched.Status != UpToDate ||
		r.Module == nil || r.Module.ID != "TDX_01" || r.Module.ISVSVN != 6 || r.Module.Matched.Status != UpToDate {
		t.Errorf("TCB: %v %v %+v %+v %+v", r.Status, r.Advisories, r.Platform, r.QE, r.Module)
	}
	for _, p := range []Policy{upToDate(), accepting(r)} {
		if err := p.Appraise(r); err != nil {
			t.Error(err)
		}
	}
	sgxOnly := upToDate()
	sgxOnly.TDX = nil
	if e := wantStep(t, sgxOnly.Appraise(r), StepPolicyTEE); e.Got != "TDX" {
		t.Errorf("%v", e)
	}
}

// Each edge of the window in which the documents hold, to the second.
func TestPhalaWindows(t *testing.T) {
	for _, c := range []struct {
		tee, from, to string
		before, after Step
	}{
		{"sgx", "2025-06-19T10:56:11Z", "2025-07-19T10:01:18Z", StepTCBInfo, StepQEIdentity},
		{"tdx", "2025-06-19T10:32:27Z", "2025-07-19T10:00:35Z", StepQEIdentity, StepPCKCRL},
	} {
		quote, coll := phala(t, c.tee)
		for _, at := range []string{c.from, c.to} {
			if _, err := intel(at).Verify(quote, coll); err != nil {
				t.Errorf("%s at %s: %v", c.tee, at, err)
			}
		}
		for at, step := range map[time.Time]Step{date(c.from).Add(-time.Second): c.before, date(c.to).Add(time.Second): c.after} {
			v := intel(at.Format(time.RFC3339))
			v.MaxCollateralAge = 365 * 24 * time.Hour
			r, err := v.Verify(quote, coll)
			wantStep(t, err, step)
			if r.Status != StatusUnknown || r.Platform == nil || r.QE == nil || r.PCK == nil {
				t.Errorf("%s at %v: %v %+v", c.tee, at, r.Status, r.Platform)
			}
			if len(r.Failures) != 1 {
				t.Errorf("failures %v", steps(r))
			}
			wantStep(t, accepting(r).Appraise(r), StepPolicy)
		}
	}
}

func TestPhalaExchanged(t *testing.T) {
	sgxQuote, sgxColl := phala(t, "sgx")
	tdxQuote, tdxColl := phala(t, "tdx")
	for _, c := range []struct {
		quote []byte
		coll  *Collateral
		want  []Step
	}{
		{sgxQuote, tdxColl, []Step{StepPCKCRL, StepTCBInfo, StepQEIdentity}},
		{tdxQuote, sgxColl, []Step{StepPCKCRL, StepTCBInfo, StepQEIdentity}},
		{sgxQuote, nil, []Step{StepCollateral}},
		{sgxQuote, &Collateral{}, []Step{StepCollateral, StepTCBChain, StepRootCRL, StepPCKCRL}},
	} {
		r, err := intel("2025-07-01T00:00:00Z").Verify(c.quote, c.coll)
		if err == nil || !slices.Equal(steps(r), c.want) {
			t.Errorf("failures %v, want %v", r.Failures, c.want)
		}
		if r.Status != StatusUnknown || r.Platform != nil {
			t.Errorf("status %v", r.Status)
		}
	}
}

// Any bit of the quote's header and report, of the attestation key, and of
// the QE report is covered by a signature or a hash.
func TestPhalaBits(t *testing.T) {
	quote, c := phala(t, "sgx")
	v := intel("2025-07-01T00:00:00Z")
	if _, err := v.Verify(quote, c); err != nil {
		t.Fatal(err)
	}
	bits := 8
	if testing.Short() || raceEnabled {
		bits = 1
	}
	for off := 0; off < 948+64; off++ {
		for bit := 8 - bits; bit < 8; bit++ {
			q := slices.Clone(quote)
			q[off] ^= 1 << bit
			if _, err := v.Verify(q, c); err == nil {
				t.Fatalf("byte %d bit %d changed: accepted", off, bit)
			}
		}
	}
}
