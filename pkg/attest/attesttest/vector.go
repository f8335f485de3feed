package attesttest

import (
	"slices"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/sgx"
)

// Vector is evidence of which one thing is wrong, or nothing.
type Vector struct {
	Name string // layer/what
	Why  string // what is wrong, for people
	// Step must refuse it; empty if the evidence must be accepted, by the verifier
	// and by the policy.
	Step attest.Step
	// Also are the steps that cannot hold either, in the verifier's order.
	Also []attest.Step
	// Status and Advisories are what the verifier must find if no step of its own
	// refuses.
	Status     attest.TCBStatus
	Advisories []string

	Evidence
	Roots  *attest.Roots
	Now    time.Time
	MaxAge time.Duration // 0: the verifier's default
	// Extensions are those of the certificate that came with the quote.
	Extensions []attest.Extension
	Policy     attest.Policy // accepts the platform of New or NewTDX, up to date
}

// recipe is how a vector is made.
type recipe struct {
	name, why string
	step      attest.Step
	also      []attest.Step
	tdx       bool                     // from NewTDX, else New
	before    func(*Platform)          // changes what is minted
	after     func(*Platform, *Vector) // changes what was minted
}

// Vectors mints all vectors, in a fixed order, with new keys.
func Vectors(t testing.TB) []Vector {
	t.Helper()
	var out []Vector
	for _, r := range slices.Concat(good(), quoteRecipes(), chainRecipes(), extensionRecipes(), listRecipes(),
		signatureRecipes(), documentRecipes(), levelRecipes(), tdxRecipes(), policyRecipes()) {
		out = append(out, r.mint(t))
	}
	return out
}

func (r *recipe) mint(t testing.TB) Vector {
	t.Helper()
	p := New(t)
	if r.tdx {
		p = NewTDX(t)
	}
	if r.before != nil {
		r.before(p)
	}
	v := Vector{Name: r.name, Why: r.why, Step: r.step, Also: r.also, Status: attest.UpToDate, Evidence: *p.Mint(), Roots: p.Roots(), Now: Now, Policy: p.Policy()}
	if r.after != nil {
		r.after(p, &v)
	}
	return v
}

// Policy accepts exactly the enclave or TD of New and NewTDX, on a platform that is
// up to date, of the root named RootName.
func (p *Platform) Policy() attest.Policy {
	policy := attest.Policy{
		Roots: attest.OneOf(RootName),
		TCB:   []attest.TCBRule{{Status: attest.UpToDate, Advisories: attest.OneOf[string](), Until: attest.Forever()}},
	}
	if p.TD == nil {
		policy.SGX = &attest.SGXPolicy{
			MREnclave: attest.OneOf(sgx.Measurement{0xe1, 31: 0xe2}), MRSigner: attest.OneOf(sgx.Measurement{0x51, 31: 0x52}),
			ISVProdID: attest.OneOf[uint16](7), MinISVSVN: attest.AtLeast(3),
			Attributes: attest.AttributeBits(uint64(sgx.AttrMode64Bit), uint64(sgx.AttrMode64Bit|sgx.AttrProvisionKey|sgx.AttrEInitTokenKey),
				uint64(sgx.XFRMLegacy|sgx.XFRMAVX), ^uint64(0)),
		}
		return policy
	}
	policy.TDX = &attest.TDXPolicy{
		MRTD:       attest.OneOf(attest.Hash48(p.TD.MRTD)),
		Attributes: attest.AttributeBits(0x10000000, ^uint64(0), 0xe7, ^uint64(0)),
	}
	for i := range policy.TDX.RTMR {
		policy.TDX.RTMR[i] = attest.OneOf(attest.Hash48{0x40 + byte(i)})
	}
	return policy
}

// ppid has the quote say which machine it is of, in place of the certificates.
func ppid(p *Platform) { p.Signer.CertType, p.Signer.CertData = 3, make([]byte, 404) }

// good are vectors that must be accepted.
func good() []recipe {
	at := func(t time.Time) func(*Platform, *Vector) { return func(_ *Platform, v *Vector) { v.Now = t } }
	year := func(_ *Platform, v *Vector) { v.MaxAge = 366 * 24 * time.Hour }
	list := []recipe{
		{name: "good/sgx-v3", why: "nothing"},
		{name: "good/sgx-v4", why: "nothing", before: func(p *Platform) { p.Version, p.Signer.QESVN, p.Signer.PCESVN = 4, 0, 0 }},
		{name: "good/tdx-v4", why: "nothing", tdx: true},
		{name: "good/first-second", why: "the first second of TCB info and QE identity", after: at(issued)},
		{name: "good/last-second", why: "the last second of TCB info and QE identity", after: func(p *Platform, v *Vector) {
			year(p, v)
			v.Now = nextUpdate
		}},
		{name: "good/seven-days-old", why: "as old as collateral may be", after: at(issued.Add(attest.DefaultMaxCollateralAge))},
		{name: "good/zeros-behind", why: "a quoting service's buffer has zeros behind the quote", after: func(_ *Platform, v *Vector) {
			v.Quote = append(v.Quote, make([]byte, 70)...)
		}},
		{name: "good/nul-behind-chain", why: "Intel's quoting enclave ends the chain with a NUL", before: func(p *Platform) {
			p.Signer.CertData = append(p.Signer.CertData, 0)
		}},
		{name: "good/chain-order", why: "the chain is stored leaf, root, CA; its path is found", before: func(p *Platform) {
			p.Signer.CertData = chain(p.PCK, p.Vendor.Root, p.Vendor.CA)
		}},
		{name: "good/no-authentication-data", why: "authentication data may be empty", before: func(p *Platform) {
			p.Signer.AuthData = nil
			p.Bind()
		}},
		{name: "good/newer-than-known", why: "the platform has more than the newest level asks for", before: func(p *Platform) {
			for i := range p.TCB.Levels {
				p.TCB.Levels[i].SGX[0]--
			}
		}},
		{name: "good/chain-in-collateral", why: "the quote has an encrypted PPID (type 3); the chain comes with the collateral", before: ppid,
			after: func(p *Platform, v *Vector) { v.Collateral.PCKChain = p.Vendor.PCKChain(p.PCK) }},
		{name: "good/processor-ca", why: "a PCK certificate of the processor CA has no platform entries", before: processorCA},
	}
	return list
}
