package attesttest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

// TestVectors has the verifier, and the policy if that accepts, judge all vectors.
func TestVectors(t *testing.T) {
	broken := 0
	names := make(map[string]bool)
	for _, v := range Vectors(t) {
		if v.Step != "" {
			broken++
		}
		if names[v.Name] {
			t.Errorf("%s: there are two", v.Name)
		}
		names[v.Name] = true
		t.Run(v.Name, func(t *testing.T) { judge(t, &v) })
	}
	if broken < 60 {
		t.Errorf("%d broken vectors, want 60 at least", broken)
	}
	t.Logf("%d vectors, %d of them broken", len(names), broken)
}

func judge(t *testing.T, v *Vector) {
	verifier := &attest.Verifier{Roots: v.Roots, Now: func() time.Time { return v.Now }, MaxCollateralAge: v.MaxAge}
	// A second time, since a verifier has a memory.
	for _, memory := range []string{"cold", "warm"} {
		r, err := verifier.Verify(v.Quote, v.Collateral)
		if err == nil {
			if r.Status != v.Status || !slices.Equal(r.Advisories, v.Advisories) || r.Root != RootName {
				t.Errorf("%s: status %v %v of root %q, want %v %v", memory, r.Status, r.Advisories, r.Root, v.Status, v.Advisories)
			}
			err = v.Policy.Appraise(r, v.Extensions...)
		} else if len(r.Failures) == 0 || v.Policy.Appraise(r, v.Extensions...) == nil {
			t.Errorf("%s: a refused result has %d failures, and the policy accepts it", memory, len(r.Failures))
		}
		var e *attest.Error
		switch {
		case v.Step == "" && err != nil:
			t.Errorf("%s: %s: %v", memory, v.Why, err)
		case v.Step != "" && err == nil:
			t.Errorf("%s: %s: is accepted", memory, v.Why)
		case v.Step != "" && !errors.As(err, &e):
			t.Errorf("%s: %v is no *attest.Error", memory, err)
		case v.Step != "" && e.Step != v.Step:
			t.Errorf("%s: %s: refused by %s, want %s: %v", memory, v.Why, e.Step, v.Step, err)
		}
		if v.Step == "" || err == nil || strings.HasPrefix(string(v.Step), "policy") {
			continue
		}
		var steps []attest.Step
		for _, f := range r.Failures {
			steps = append(steps, f.Step)
		}
		if want := append([]attest.Step{v.Step}, v.Also...); !slices.Equal(steps, want) {
			t.Errorf("%s: %s: refused by %v, want %v", memory, v.Why, steps, want)
		}
	}
}

// TestMemory has one verifier judge all vectors of one root after a good one: what
// it remembers must not let a broken one through.
func TestMemory(t *testing.T) {
	p := New(t)
	verifier := &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return Now }}
	good := p.Mint()
	if _, err := verifier.Verify(good.Quote, good.Collateral); err != nil {
		t.Fatal(err)
	}
	for off := range good.Quote[:certTypeOff] {
		q := slices.Clone(good.Quote)
		q[off] ^= 0x10
		if _, err := verifier.Verify(q, good.Collateral); err == nil {
			t.Errorf("byte %d can be changed", off)
		}
	}
	if _, err := verifier.Verify(good.Quote, good.Collateral); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestCollateralBytes changes each byte of the documents and lists.
func TestCollateralBytes(t *testing.T) {
	p := New(t)
	good := p.Mint()
	parts := func(c *attest.Collateral) map[string][]byte {
		return map[string][]byte{
			"TCB info": c.TCBInfo.Body, "TCB info signature": c.TCBInfo.Signature[:],
			"QE identity": c.QEIdentity.Body, "QE identity signature": c.QEIdentity.Signature[:], "PCK CRL": c.PCKCRL, "root CRL": c.RootCRL,
		}
	}
	verifier := &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return Now }}
	for name, b := range parts(good.Collateral) {
		for i := 0; i < len(b); i += 1 + len(b)/100 {
			b[i] ^= 1
			if _, err := verifier.Verify(good.Quote, good.Collateral); err == nil {
				t.Errorf("%s: byte %d can be changed", name, i)
			}
			b[i] ^= 1
		}
	}
	if _, err := verifier.Verify(good.Quote, good.Collateral); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
