// Package evidence is what eos verify found out about somebody who claims to be
// an enclave, in the words of people: as sections of rows for the terminal, as
// JSON, and as one page of HTML.
package evidence

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/sign"
)

// Report is everything that is known. Trusted is true only if all that was asked
// for held; Reason then is empty.
type Report struct {
	Subject string    `json:"subject"` // the URL or file
	Time    time.Time `json:"time"`
	Trusted bool      `json:"trusted"`
	Step    string    `json:"failed_step,omitempty"` // as package attest names it
	Reason  string    `json:"reason,omitempty"`
	Want    string    `json:"want,omitempty"`
	Got     string    `json:"got,omitempty"`
	Hint    string    `json:"hint,omitempty"`

	Certificate *Certificate `json:"certificate,omitempty"`
	Enclave     *Enclave     `json:"enclave,omitempty"`
	TD          *TD          `json:"td,omitempty"`
	Claims      []Claim      `json:"claims,omitempty"`
	Config      []Setting    `json:"config,omitempty"` // if the manifest was asked for and is the right one
	Platform    *Platform    `json:"platform,omitempty"`
	Checks      []Check      `json:"checks"`
	Expires     *time.Time   `json:"expires,omitempty"` // the first of all dates
}

// Certificate is the leaf that was shown.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"`
	IssuedBy  string    `json:"issuer_sha256,omitempty"` // the CA's certificate, if it was sent
}

// Enclave is what runs: SGX.
type Enclave struct {
	MREnclave  string `json:"mrenclave"`
	MRSigner   string `json:"mrsigner"`
	Signer     string `json:"signer,omitempty"` // if the key is known to everybody
	ISVProdID  uint16 `json:"isvprodid"`
	ISVSVN     uint16 `json:"isvsvn"`
	Attributes string `json:"attributes"`
	Debug      bool   `json:"debug"`
	ReportData string `json:"report_data"`
}

// TD is what runs: TDX.
type TD struct {
	MRTD       string    `json:"mrtd"`
	RTMR       [4]string `json:"rtmr"`
	Debug      bool      `json:"debug"`
	ReportData string    `json:"report_data"`
}

// Claim is an extension of the leaf: the enclave's word about its configuration.
type Claim struct {
	OID   string `json:"oid"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value"`          // hex
	Text  string `json:"text,omitempty"` // the value, if text is what it is by definition
}

// Setting is a leaf of the configuration's manifest.
type Setting struct {
	Name  string `json:"name"`
	Hash  string `json:"hash,omitempty"`  // SHA-256 of the data; empty if the leaf has none
	Value string `json:"value,omitempty"` // the data, if it is short text
}

// Platform is where it runs.
type Platform struct {
	Root       string     `json:"root,omitempty"`
	TEE        string     `json:"tee"`
	Version    uint16     `json:"quote_version"`
	QEVendor   string     `json:"qe_vendor_id"`
	FMSPC      string     `json:"fmspc,omitempty"`
	PCESVN     *uint16    `json:"pcesvn,omitempty"`
	Status     string     `json:"tcb_status"`
	Advisories []string   `json:"advisories,omitempty"`
	Matched    *time.Time `json:"tcb_date,omitempty"`
	Newest     *time.Time `json:"newest_tcb_date,omitempty"`
	Behind     int        `json:"tcb_levels_behind"`
}

// States of a check.
const (
	Held       = "held"
	Failed     = "failed"
	NotChecked = "not checked"
)

// Check is one thing that was looked at, or not.
type Check struct {
	Name   string `json:"name"`
	What   string `json:"what"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

// New begins a report about subject.
func New(subject string, at time.Time) *Report { return &Report{Subject: subject, Time: at.UTC()} }

// overdue is how long before its end a leaf has been replaced by the server that made it.
const overdue = time.Hour

// SetCertificate takes the leaf's facts and claims, and those of its issuer if it
// was sent too. A server that shows the leaf makes the next one by itself: its end
// then counts only if that is overdue.
func (r *Report) SetCertificate(chain []*x509.Certificate, shown bool) {
	if len(chain) == 0 {
		return
	}
	leaf := chain[0]
	c := &Certificate{Subject: name(leaf.Subject.String()), Issuer: name(leaf.Issuer.String()), NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(), SHA256: sum(leaf.Raw)}
	c.Names = append(c.Names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, net.IP(ip).String())
	}
	if len(chain) > 1 {
		c.IssuedBy = sum(chain[1].Raw)
	}
	r.Certificate = c
	if !shown || c.NotAfter.Sub(r.Time) < overdue {
		r.expires(c.NotAfter)
	}
	for _, issuer := range chain[1:] {
		r.expires(issuer.NotAfter)
	}
	for _, e := range leaf.Extensions {
		if len(e.Id) > len(ratls.Arc) && e.Id[:len(ratls.Arc)].Equal(ratls.Arc) {
			c := Claim{OID: e.Id.String(), Name: ratls.OIDName(e.Id), Value: hex.EncodeToString(e.Value)}
			if e.Id.Equal(ratls.OIDAppImage) || e.Id.Equal(ratls.OIDAppKeySource) {
				c.Text = name(strings.ToValidUTF8(string(e.Value), "?"))
			}
			r.Claims = append(r.Claims, c)
		}
	}
}

// SetConfig takes the leaves of the configuration's manifest.
func (r *Report) SetConfig(m *measure.Manifest) {
	for _, e := range m.Leaves {
		s := Setting{Name: e.Name, Value: e.Text}
		if e.Hash != nil {
			s.Hash = e.Hash.String()
		}
		r.Config = append(r.Config, s)
	}
}

// SetResult takes what the verifier found.
func (r *Report) SetResult(v *attest.Result) {
	if v == nil {
		r.add("evidence", "all that a quote proves", NotChecked, "there was none that could be looked at")
		return
	}
	r.setQuote(v.Quote)
	r.setPlatform(v)
	passed := map[attest.Step]bool{}
	for _, s := range v.Passed {
		passed[s] = true
	}
	failed := map[attest.Step]*attest.Error{}
	for _, e := range v.Failures {
		if failed[e.Step] == nil {
			failed[e.Step] = e
		}
	}
	tee := attest.SGX
	if v.Quote != nil {
		tee = v.Quote.TEE
	}
	for _, s := range attest.Steps(tee) {
		switch {
		case failed[s] != nil:
			r.add(string(s), s.Title(), Failed, detail(failed[s]))
		case passed[s]:
			r.add(string(s), s.Title(), Held, "")
		default:
			r.add(string(s), s.Title(), NotChecked, "")
		}
	}
	r.expires(v.Collateral.Expires)
}

func (r *Report) setQuote(q *attest.Quote) {
	switch {
	case q == nil:
	case q.Report != nil:
		b := q.Report
		r.Enclave = &Enclave{
			MREnclave: b.MREnclave.String(), MRSigner: b.MRSigner.String(), ISVProdID: b.ISVProdID, ISVSVN: b.ISVSVN,
			Attributes: b.Attributes.String(), Debug: q.Debug(), ReportData: hex.EncodeToString(b.ReportData[:]),
		}
		if key, err := sign.MRSigner(&sign.DebugKey().PublicKey); err == nil && key == b.MRSigner {
			r.Enclave.Signer = "the public debug key: anybody can sign with it"
		}
	case q.TD != nil:
		t := q.TD
		r.TD = &TD{MRTD: hex.EncodeToString(t.MRTD[:]), Debug: q.Debug(), ReportData: hex.EncodeToString(t.ReportData[:])}
		for i := range t.RTMR {
			r.TD.RTMR[i] = hex.EncodeToString(t.RTMR[i][:])
		}
	}
}

func (r *Report) setPlatform(v *attest.Result) {
	if v.Quote == nil {
		return
	}
	p := &Platform{Root: v.Root, TEE: v.Quote.TEE.String(), Version: v.Quote.Version, QEVendor: hex.EncodeToString(v.Quote.QEVendorID[:]), Status: v.Status.String(), Advisories: v.Advisories}
	if v.PCK != nil {
		p.FMSPC = hex.EncodeToString(v.PCK.FMSPC[:])
		p.PCESVN = &v.PCK.PCESVN
	}
	if f := v.Platform; f != nil {
		matched, newest := f.Matched.Date.UTC(), f.Newest.Date.UTC()
		p.Matched, p.Newest, p.Behind = &matched, &newest, f.Index
	}
	r.Platform = p
}

// Add notes a check of the caller's own.
func (r *Report) Add(name, what, state, detail string) { r.add(name, what, state, detail) }

func (r *Report) add(name, what, state, detail string) {
	r.Checks = append(r.Checks, Check{name, what, state, detail})
}

// Conclude is the end: without an error the subject is trusted.
func (r *Report) Conclude(err error) {
	if err == nil {
		r.Trusted = true
		return
	}
	r.Reason = err.Error()
	var e *attest.Error
	if !errors.As(err, &e) {
		return
	}
	r.Step, r.Reason, r.Want, r.Got, r.Hint = string(e.Step), e.What, e.Want, e.Got, e.Hint
	if e.Err != nil {
		r.Reason += ": " + e.Err.Error()
	}
}

// Failure is one line about what did not hold.
func (r *Report) Failure() string {
	var b strings.Builder
	if r.Step != "" {
		b.WriteString(r.Step + ": ")
	}
	b.WriteString(r.Reason)
	if r.Want != "" || r.Got != "" {
		b.WriteString(wantGot(r.Want, r.Got))
	}
	return b.String()
}

func (r *Report) expires(at time.Time) {
	if at.IsZero() || r.Expires != nil && !at.Before(*r.Expires) {
		return
	}
	at = at.UTC()
	r.Expires = &at
}

func detail(e *attest.Error) string {
	s := e.What
	if e.Want != "" || e.Got != "" {
		s += wantGot(e.Want, e.Got)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func wantGot(want, got string) string {
	if got == "" {
		got = "nothing"
	}
	if want == "" {
		return ": " + got
	}
	return ": want " + want + ", got " + got
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// name makes a certificate's name fit to print: who makes one chooses its bytes.
func name(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, s)
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}
