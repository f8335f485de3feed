package evidence

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// sample is a report with something in every place, and a name that attacks.
func sample(trusted bool) *Report {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	end := at.Add(24 * time.Hour)
	newest := at.AddDate(0, -2, 0)
	pce := uint16(13)
	r := &Report{
		Subject: "https://notes.example:8443", Time: at, Trusted: trusted,
		Certificate: &Certificate{Subject: `CN=<script>alert(1)</script>`, Issuer: "CN=eos intermediary", Names: []string{"notes.example"}, NotBefore: at, NotAfter: end, SHA256: strings.Repeat("ab", 32), IssuedBy: strings.Repeat("cd", 32)},
		Enclave:     &Enclave{MREnclave: strings.Repeat("01", 32), MRSigner: strings.Repeat("02", 32), Attributes: "INIT|MODE64BIT XFRM LEGACY|AVX", ReportData: strings.Repeat("03", 64)},
		Claims:      []Claim{{OID: "1.3.6.1.4.1.65230.1.1", Name: "configuration root", Value: strings.Repeat("04", 32)}},
		Platform:    &Platform{Root: "Intel SGX Root CA", TEE: "SGX", Version: 3, FMSPC: "00606a000000", PCESVN: &pce, Status: "OutOfDate", Advisories: []string{"INTEL-SA-00289"}, Matched: &at, Newest: &newest, Behind: 2},
		Expires:     &end,
	}
	r.Add("quote", "the evidence is a quote", Held, "")
	r.Add("policy-tcb", "the platform's TCB is accepted", map[bool]string{true: Held, false: Failed}[trusted], "")
	r.Add("session", "the enclave holds this very connection", NotChecked, "a certificate in a file has no connection")
	if !trusted {
		r.Step, r.Reason, r.Want, r.Got, r.Hint = "policy-tcb", "TCB status is not accepted", "UpToDate", "OutOfDate", "update the platform"
	}
	return r
}

func TestHTML(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		var b bytes.Buffer
		if err := sample(trusted).WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for part, want := range map[string]bool{
			"<script": false, "&lt;script&gt;": true, "http-equiv=\"Content-Security-Policy\"": true, "src=": false, "href=": false, "url(": false,
			"<strong>Trusted</strong>": trusted, "<strong>Refused</strong>": !trusted, "policy-tcb: TCB status is not accepted: want UpToDate, got OutOfDate": !trusted,
			"what was not checked": true, strings.Repeat("01", 32): true,
		} {
			if strings.Contains(text, part) != want {
				t.Errorf("trusted %v: %q in the page: %v, want %v", trusted, part, !want, want)
			}
		}
		if dir := os.Getenv("EOS_PAGES"); dir != "" {
			os.WriteFile(dir+map[bool]string{true: "/trusted.html", false: "/refused.html"}[trusted], b.Bytes(), 0o644)
		}
	}
}
