package evidence

import (
	"fmt"
	"strings"
	"time"
)

// Section is a heading with rows below it.
type Section struct {
	Title string
	Rows  []Row
}

// Row is a fact. State is that of a check, else empty.
type Row struct{ Name, Value, State string }

// Sections are the report for people: who answered, what runs, how it is
// configured, on what platform, and what was checked and what was not.
func (r *Report) Sections() []Section {
	var out []Section
	add := func(title string, rows []Row) {
		if len(rows) > 0 {
			out = append(out, Section{title, rows})
		}
	}
	add("who answered", r.answered())
	add("what runs", r.runs())
	add("how it is configured", r.configured())
	add("platform", r.platform())
	add("what was checked", r.checked(Failed, Held))
	add("what was not checked", r.checked(NotChecked))
	return out
}

func (r *Report) answered() (rows []Row) {
	c := r.Certificate
	if c == nil {
		return nil
	}
	rows = append(rows, row("certificate", c.Subject), row("issued by", c.Issuer))
	if len(c.Names) > 0 {
		rows = append(rows, row("for", strings.Join(c.Names, ", ")))
	}
	rows = append(rows, row("valid", day(c.NotBefore)+" to "+day(c.NotAfter)), row("SHA-256", c.SHA256))
	if c.IssuedBy != "" {
		rows = append(rows, row("CA's SHA-256", c.IssuedBy))
	}
	return rows
}

func (r *Report) runs() (rows []Row) {
	if e := r.Enclave; e != nil {
		signer := e.MRSigner
		if e.Signer != "" {
			signer += " (" + e.Signer + ")"
		}
		rows = append(rows, row("MRENCLAVE", e.MREnclave), row("MRSIGNER", signer), row("ISVPRODID", fmt.Sprint(e.ISVProdID)), row("ISVSVN", fmt.Sprint(e.ISVSVN)),
			row("attributes", e.Attributes), row("debug", debug(e.Debug)))
	}
	if t := r.TD; t != nil {
		rows = append(rows, row("MRTD", t.MRTD))
		for i, m := range t.RTMR {
			rows = append(rows, row(fmt.Sprintf("RTMR%d", i), m))
		}
		rows = append(rows, row("debug", debug(t.Debug)))
	}
	return rows
}

func debug(on bool) string {
	if on {
		return "yes: the host can read all of its memory"
	}
	return "no"
}

func (r *Report) configured() (rows []Row) {
	for _, c := range r.Claims {
		if c.Name == "" {
			c.Name = c.OID
		}
		if c.Text != "" {
			c.Value = c.Text
		}
		rows = append(rows, row(c.Name, c.Value))
	}
	for _, s := range r.Config {
		switch {
		case s.Hash == "":
			s.Value = "not set"
		case s.Value == "":
			s.Value = "SHA-256 " + s.Hash
		}
		rows = append(rows, row(s.Name, s.Value))
	}
	return rows
}

func (r *Report) platform() (rows []Row) {
	p := r.Platform
	if p == nil {
		return nil
	}
	root := p.Root
	if root == "" {
		root = "not established"
	}
	rows = append(rows, row("kind", fmt.Sprintf("%s, quote version %d", p.TEE, p.Version)), row("root", root))
	if p.FMSPC != "" {
		rows = append(rows, row("FMSPC", p.FMSPC))
	}
	status := p.Status
	if p.Behind > 0 {
		status += fmt.Sprintf(", number %d of the levels, the newest first", p.Behind+1)
	}
	rows = append(rows, row("TCB", status))
	if p.Matched != nil {
		rows = append(rows, row("TCB of", day(*p.Matched)+"; the newest is of "+day(*p.Newest)))
	}
	if len(p.Advisories) > 0 {
		rows = append(rows, row("advisories", strings.Join(p.Advisories, ", ")))
	}
	if r.Expires != nil {
		rows = append(rows, row("all this ends", day(*r.Expires)))
	}
	return rows
}

func (r *Report) checked(states ...string) (rows []Row) {
	for _, s := range states {
		for _, c := range r.Checks {
			if c.State != s {
				continue
			}
			value := c.What
			if c.Detail != "" {
				value += ": " + c.Detail
			}
			rows = append(rows, Row{c.Name, value, c.State})
		}
	}
	return rows
}

func row(name, value string) Row { return Row{Name: name, Value: value} }

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
