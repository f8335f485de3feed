package ratls

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

// What can be found out without collateral is found out, and does not suffice.
func TestFactsWithoutCollateral(t *testing.T) {
	p := attesttest.New(t)
	e := p.Mint()
	q, err := attest.ParseQuote(e.Quote)
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("away")
	trust := Trust{
		Verifier:   &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }},
		Policy:     p.Policy(),
		Collateral: func(context.Context, *attest.Quote) (*attest.Collateral, error) { return nil, away },
	}
	r, err := trust.verify(t.Context(), e.Quote, q.ReportData(), nil)
	if refused := (*attest.Error)(nil); !errors.As(err, &refused) || refused.Step != attest.StepCollateral || !errors.Is(err, away) {
		t.Errorf("without collateral: %v", err)
	}
	if r == nil || r.Quote == nil || !slices.Contains(r.Passed, attest.StepQuoteSignature) {
		t.Errorf("facts: %+v", r)
	}
}
