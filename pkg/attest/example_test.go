package attest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

// Verify finds out what is true, Appraise says whether it is what the policy
// accepts. (The quote here is minted under a root for tests; of hardware it is
// attest.IntelRoots() that a Verifier trusts, and time.Now is its clock.)
func Example() {
	quote, bundle, policyJSON, roots, now := exampleEvidence()

	collateral, _ := attest.ParseCollateral(bundle)
	policy, _ := attest.ParsePolicy(policyJSON)
	verifier := &attest.Verifier{Roots: roots, Now: now}
	result, err := verifier.Verify(quote, collateral)
	fmt.Println(result.Status, err, policy.Appraise(result))

	// Output: UpToDate <nil> <nil>
}

func exampleEvidence() (quote, bundle, policyJSON []byte, roots *attest.Roots, now func() time.Time) {
	var t testing.T // Mint ends a test that it cannot serve
	p := attesttest.New(&t)
	e := p.Mint()
	bundle, err := e.Collateral.MarshalJSON()
	if err != nil {
		panic(err)
	}
	policyJSON, err = p.Policy().MarshalJSON()
	if err != nil {
		panic(err)
	}
	return e.Quote, bundle, policyJSON, p.Roots(), func() time.Time { return attesttest.Now }
}
