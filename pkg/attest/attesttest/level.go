package attesttest

import (
	"encoding/asn1"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
	"github.com/enclaveos/eos/pkg/sgx"
)

// tcbRule accepts a status with the advisory of the levels.
func tcbRule(s attest.TCBStatus) []attest.TCBRule {
	return []attest.TCBRule{{Status: s, Advisories: attest.OneOf(theAdvisory), Until: attest.Forever()}}
}

// levelRecipes bring about each status, and platforms that have none.
func levelRecipes() []recipe {
	found := func(s attest.TCBStatus, advisories ...string) func(*Platform, *Vector) {
		return func(_ *Platform, v *Vector) {
			v.Status, v.Advisories = s, advisories
			v.Policy.TCB = tcbRule(s)
		}
	}
	// is has the platform and the QE at the given statuses.
	is := func(platform, qe string) func(*Platform) {
		return func(p *Platform) {
			p.TCB.Levels[0].Status, p.QE.Levels[0].Status = platform, qe
			if platform != issue.UpToDate {
				p.TCB.Levels[0].Advisories = []string{theAdvisory}
			}
		}
	}
	list := []recipe{
		{name: "status/sw-hardening", why: "accepted by a policy that names the status", before: is(issue.SWHardeningNeeded, issue.UpToDate),
			after: found(attest.SWHardeningNeeded, theAdvisory)},
		{name: "status/configuration", why: "accepted by a policy that names the status", before: is(issue.ConfigurationNeeded, issue.UpToDate),
			after: found(attest.ConfigurationNeeded, theAdvisory)},
		{name: "status/configuration-and-sw-hardening", why: "accepted by a policy that names the status",
			before: is(issue.ConfigurationAndSWHardeningNeeded, issue.UpToDate), after: found(attest.ConfigurationAndSWHardeningNeeded, theAdvisory)},
		{name: "status/out-of-date", why: "accepted by a policy that names the status", before: func(p *Platform) {
			p.TCB.Levels[0].SGX[0]++ // so that the second is the platform's
			for i := range p.TCB.Levels[1:] {
				p.TCB.Levels[1+i].SGX = theSVNs
			}
		}, after: found(attest.OutOfDate, theAdvisory)},
		{name: "status/out-of-date-configuration", why: "accepted by a policy that names the status",
			before: is(issue.OutOfDateConfigurationNeeded, issue.UpToDate), after: found(attest.OutOfDateConfigurationNeeded, theAdvisory)},
		{name: "status/qe-out-of-date", why: "an old quoting enclave makes the whole out of date", before: func(p *Platform) {
			p.Signer.QEReport.ISVSVN = 5
		}, after: found(attest.OutOfDate, theAdvisory)},
		{name: "status/qe-out-of-date-and-hardening", why: "both together are out of date", before: is(issue.SWHardeningNeeded, issue.OutOfDate),
			after: found(attest.OutOfDate, theAdvisory)},
		{name: "status/qe-out-of-date-and-configuration", why: "both together", before: is(issue.ConfigurationNeeded, issue.OutOfDate),
			after: found(attest.OutOfDateConfigurationNeeded, theAdvisory)},
		{name: "status/pcesvn", why: "the PCE is older than the newest level asks for, and reaches the third", before: func(p *Platform) {
			p.Extensions.PCESVN = 6
			leaf(nil)(p)
		}, after: func(_ *Platform, v *Vector) {
			v.Status, v.Advisories = attest.OutOfDate, []string{"INTEL-SA-00106", theAdvisory}
			v.Policy.TCB = []attest.TCBRule{{Status: attest.OutOfDate, Advisories: attest.Any[string](), Until: attest.Forever()}}
		}},
	}
	refused := []recipe{
		{name: "tcb-level/revoked", why: "the platform's level is revoked", before: is(issue.StatusRevoked, issue.UpToDate)},
		{name: "tcb-level/qe-revoked", why: "the quoting enclave's level is revoked", before: is(issue.UpToDate, issue.StatusRevoked)},
		{name: "tcb-level/component", why: "a component is older than in all levels", before: func(p *Platform) {
			p.Extensions.Component[7] = 3
			leaf(nil)(p)
		}},
		{name: "tcb-level/pcesvn", why: "the PCE is older than in all levels", before: func(p *Platform) {
			p.Extensions.PCESVN = 4
			leaf(nil)(p)
		}},
		{name: "tcb-level/last-component", why: "the last component is older than in all levels", before: func(p *Platform) {
			for i := range p.TCB.Levels {
				p.TCB.Levels[i].SGX[15] = 1
			}
		}},
		{name: "tcb-level/report-cpusvn", why: "the enclave's CPUSVN would do, but the PCK certificate's counts", before: func(p *Platform) {
			for i := range p.Report.CPUSVN {
				p.Report.CPUSVN[i] = 0xff
			}
			p.Extensions.Component = [16]uint8{1}
			leaf(nil)(p)
		}},
	}
	for i := range refused {
		refused[i].step = attest.StepTCBLevel
	}
	return append(list, refused...)
}

// tdxRecipes break what only a TD has.
func tdxRecipes() []recipe {
	const module, level = attest.StepTDXModule, attest.StepTCBLevel
	list := []recipe{
		{name: "status/tdx-module-out-of-date", why: "an old TDX module makes the whole out of date", before: func(p *Platform) { p.TD.TEETCBSVN[0] = 3 },
			after: func(_ *Platform, v *Vector) {
				v.Status, v.Advisories, v.Policy.TCB = attest.OutOfDate, []string{theAdvisory}, tcbRule(attest.OutOfDate)
			}},
		{name: "good/tdx-module-without-version", why: "a module without a version is compared by the TDX components", before: func(p *Platform) { p.TD.TEETCBSVN[1] = 0 }},
		{name: "tdx-module/version", step: module, why: "a module that TCB info does not know", before: func(p *Platform) { p.TD.TEETCBSVN[1] = 9 }},
		{name: "tdx-module/svn", step: module, why: "a module that is older than all levels", before: func(p *Platform) { p.TD.TEETCBSVN[0] = 2 }},
		{name: "tdx-module/mrsigner", step: module, why: "a module of another signer", before: func(p *Platform) { p.TD.MRSignerSEAM[0] = 1 }},
		{name: "tdx-module/attributes", step: module, why: "a module with other attributes", before: func(p *Platform) { p.TD.SEAMAttributes[0] = 1 }},
		{name: "tdx-module/no-version-mrsigner", step: module, why: "a module without a version, of another signer", before: func(p *Platform) {
			p.TD.TEETCBSVN[1], p.TD.MRSignerSEAM[47] = 0, 1
		}},
		{name: "tdx-module/revoked", step: level, why: "the module's level is revoked", before: func(p *Platform) { p.TCB.Modules[2].Levels[0].Status = issue.StatusRevoked }},
		{name: "tcb-level/tdx-component", step: level, why: "a TDX component is older than in all levels", before: func(p *Platform) { p.TD.TEETCBSVN[2] = 1 }},
		{name: "tcb-level/tdx-module-without-version", step: level, why: "a module without a version, older than in all levels", before: func(p *Platform) {
			p.TD.TEETCBSVN[0], p.TD.TEETCBSVN[1] = 2, 0
		}},
		{name: "tcb-level/sgx-component-of-tdx", step: level, why: "an SGX component of a TDX machine is older than in all levels", before: func(p *Platform) {
			p.Extensions.Component[7] = 3
			leaf(nil)(p)
		}},
	}
	for i := range list {
		list[i].tdx = true
	}
	return list
}

// extension wants a certificate extension, of which there are the values have.
func extension(step attest.Step, name, why string, want attest.Criterion[string], have ...string) recipe {
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 65230, 1, 1}
	return recipe{name: name, why: why, step: step, after: func(_ *Platform, v *Vector) {
		v.Policy.Extensions = []attest.ExtensionRule{{OID: oid, Value: want}}
		v.Extensions = []attest.Extension{{OID: oid[:8], Value: []byte("root")}}
		for _, h := range have {
			v.Extensions = append(v.Extensions, attest.Extension{OID: oid, Value: []byte(h)})
		}
	}}
}

// policyRecipes are true, and not what was wished for.
func policyRecipes() []recipe {
	enclave := func(step attest.Step, name, why string, before func(*Platform), wish func(*attest.Policy)) recipe {
		return recipe{name: name, why: why, step: step, before: before, after: func(_ *Platform, v *Vector) {
			if wish != nil {
				wish(&v.Policy)
			}
		}}
	}
	td := func(step attest.Step, name, why string, before func(*Platform), wish func(*attest.Policy)) recipe {
		r := enclave(step, name, why, before, wish)
		r.tdx = true
		return r
	}
	status := func(name, why string, platform attest.TCBStatus, rule attest.TCBRule) recipe {
		return recipe{name: name, why: why, step: attest.StepPolicyTCB, before: func(p *Platform) {
			p.TCB.Levels[0].Status, p.TCB.Levels[0].Advisories = platform.String(), []string{theAdvisory}
		}, after: func(_ *Platform, v *Vector) {
			v.Status, v.Advisories, v.Policy.TCB = platform, []string{theAdvisory}, []attest.TCBRule{rule}
		}}
	}
	advisory := attest.OneOf(theAdvisory)
	return []recipe{
		enclave(attest.StepPolicy, "policy/zero", "a policy that says nothing accepts nothing", nil, func(p *attest.Policy) { *p = attest.Policy{} }),
		enclave(attest.StepPolicyTEE, "policy/tdx-only", "only TDs are wanted", nil, func(p *attest.Policy) {
			p.SGX, p.TDX = nil, &attest.TDXPolicy{MRTD: attest.Any[attest.Hash48](), Attributes: attest.AnyAttributes()}
			for i := range p.TDX.RTMR {
				p.TDX.RTMR[i] = attest.Any[attest.Hash48]()
			}
		}),
		td(attest.StepPolicyTEE, "policy/sgx-only", "only enclaves are wanted", nil, func(p *attest.Policy) {
			p.TDX, p.SGX = nil, &attest.SGXPolicy{
				MREnclave: attest.Any[sgx.Measurement](), MRSigner: attest.Any[sgx.Measurement](),
				ISVProdID: attest.Any[uint16](), MinISVSVN: attest.AtLeast(0), Attributes: attest.AnyAttributes(),
			}
		}),
		enclave(attest.StepPolicyRoot, "policy/root", "another root is wanted", nil, func(p *attest.Policy) { p.Roots = attest.OneOf(attest.IntelRootName) }),
		enclave(attest.StepPolicyDebug, "policy/debug", "a debug enclave", func(p *Platform) { p.Report.Attributes.Flags |= sgx.AttrDebug }, nil),
		enclave("", "good/debug-allowed", "a debug enclave, which is allowed here", func(p *Platform) { p.Report.Attributes.Flags |= sgx.AttrDebug },
			func(p *attest.Policy) { p.SGX.AllowDebug = true }),
		enclave(attest.StepPolicyAttributes, "policy/attributes", "an enclave that may get the provision key",
			func(p *Platform) { p.Report.Attributes.Flags |= sgx.AttrProvisionKey }, nil),
		enclave(attest.StepPolicyAttributes, "policy/xfrm", "an enclave that uses other features", func(p *Platform) { p.Report.Attributes.XFRM &^= sgx.XFRMAVX }, nil),
		enclave(attest.StepPolicy, "policy/attributes-left-out", "the policy does not say which attributes", nil,
			func(p *attest.Policy) { p.SGX.Attributes = attest.Attributes{} }),
		enclave(attest.StepPolicyMREnclave, "policy/mrenclave", "another enclave", func(p *Platform) { p.Report.MREnclave[0] ^= 1 }, nil),
		enclave(attest.StepPolicy, "policy/mrenclave-left-out", "the policy does not say which enclave", nil,
			func(p *attest.Policy) { p.SGX.MREnclave = attest.Criterion[sgx.Measurement]{} }),
		enclave(attest.StepPolicyMRSigner, "policy/mrsigner", "an enclave of another signer", func(p *Platform) { p.Report.MRSigner[31] ^= 1 }, nil),
		enclave(attest.StepPolicyMRSigner, "policy/mrsigner-none", "the policy accepts no signer", nil,
			func(p *attest.Policy) { p.SGX.MRSigner = attest.OneOf[sgx.Measurement]() }),
		enclave(attest.StepPolicy, "policy/mrsigner-left-out", "the policy does not say which signer", nil,
			func(p *attest.Policy) { p.SGX.MRSigner = attest.Criterion[sgx.Measurement]{} }),
		enclave(attest.StepPolicyISVProdID, "policy/isvprodid", "another product of that signer", func(p *Platform) { p.Report.ISVProdID++ }, nil),
		enclave(attest.StepPolicyISVSVN, "policy/isvsvn", "an older version than is wanted", func(p *Platform) { p.Report.ISVSVN-- }, nil),
		enclave("", "good/isvsvn-newer", "a newer version than is wanted at least", func(p *Platform) { p.Report.ISVSVN++ }, nil),
		enclave(attest.StepPolicy, "policy/isvsvn-left-out", "the policy does not say which version", nil, func(p *attest.Policy) { p.SGX.MinISVSVN = attest.Minimum{} }),
		td(attest.StepPolicyMRTD, "policy/mrtd", "another TD", func(p *Platform) { p.TD.MRTD[0] ^= 1 }, func(p *attest.Policy) {
			p.TDX.MRTD = attest.OneOf(attest.Hash48{0x91, 47: 0x92})
		}),
		td(attest.StepPolicyRTMR, "policy/rtmr", "something else was measured at run time", func(p *Platform) { p.TD.RTMR[3][0] ^= 1 }, nil),
		td(attest.StepPolicyDebug, "policy/td-debug", "a debug TD", func(p *Platform) { p.TD.TDAttributes[0] |= 1 }, func(p *attest.Policy) { p.TDX.Attributes = attest.AnyAttributes() }),
		td(attest.StepPolicyAttributes, "policy/td-attributes", "a TD with other attributes", func(p *Platform) { p.TD.TDAttributes[3] = 0 }, nil),
		status("policy/status", "a status that is not named", attest.OutOfDate, attest.TCBRule{Status: attest.UpToDate, Advisories: advisory, Until: attest.Forever()}),
		status("policy/advisory", "an advisory that is not named", attest.SWHardeningNeeded,
			attest.TCBRule{Status: attest.SWHardeningNeeded, Advisories: attest.OneOf("INTEL-SA-00001"), Until: attest.Forever()}),
		status("policy/advisories-none", "the policy accepts the status without advisories only", attest.SWHardeningNeeded,
			attest.TCBRule{Status: attest.SWHardeningNeeded, Advisories: attest.OneOf[string](), Until: attest.Forever()}),
		enclave(attest.StepPolicy, "policy/advisories-left-out", "the policy does not say which advisories", nil,
			func(p *attest.Policy) { p.TCB[0].Advisories = attest.Criterion[string]{} }),
		status("policy/until", "the status was accepted until a second ago", attest.SWHardeningNeeded,
			attest.TCBRule{Status: attest.SWHardeningNeeded, Advisories: advisory, Until: attest.Until(Now.Add(-time.Second))}),
		enclave(attest.StepPolicy, "policy/until-left-out", "the policy does not say until when", nil, func(p *attest.Policy) { p.TCB[0].Until = attest.Deadline{} }),
		enclave(attest.StepPolicy, "policy/revoked", "the policy would accept what is revoked", nil, func(p *attest.Policy) { p.TCB[0].Status = attest.Revoked }),
		enclave(attest.StepPolicy, "policy/no-tcb", "the policy accepts no status", nil, func(p *attest.Policy) { p.TCB = nil }),
		enclave(attest.StepPolicy, "policy/roots-left-out", "the policy does not say which roots", nil, func(p *attest.Policy) { p.Roots = attest.Criterion[string]{} }),
		enclave(attest.StepPolicyRoot, "policy/roots-none", "the policy accepts no root", nil, func(p *attest.Policy) { p.Roots = attest.OneOf[string]() }),
		enclave(attest.StepPolicy, "policy/nothing-accepted", "the policy accepts neither enclaves nor TDs", nil, func(p *attest.Policy) { p.SGX = nil }),
		td(attest.StepPolicy, "policy/mrtd-left-out", "the policy does not say which TD", nil, func(p *attest.Policy) { p.TDX.MRTD = attest.Criterion[attest.Hash48]{} }),
		td(attest.StepPolicy, "policy/rtmr-left-out", "the policy does not say what may be measured at run time", nil,
			func(p *attest.Policy) { p.TDX.RTMR[2] = attest.Criterion[attest.Hash48]{} }),
		td(attest.StepPolicy, "policy/td-attributes-left-out", "the policy does not say which attributes", nil, func(p *attest.Policy) { p.TDX.Attributes = attest.Attributes{} }),
		extension("", "good/extension", "the certificate has what is wanted", attest.OneOf("root"), "root"),
		extension(attest.StepPolicyExtension, "policy/extension", "the certificate lacks an extension that is wanted", attest.Any[string]()),
		extension(attest.StepPolicyExtension, "policy/extension-value", "the extension has another value", attest.OneOf("root"), "roof"),
		extension(attest.StepPolicyExtension, "policy/extension-prefix", "the extension has more than is wanted", attest.OneOf("root"), "roots"),
		extension(attest.StepPolicyExtension, "policy/extension-empty", "the extension is empty", attest.OneOf("root"), ""),
		extension(attest.StepPolicyExtension, "policy/extension-twice", "the extension comes twice: which one is meant?", attest.OneOf("root"), "root", "root"),
		extension(attest.StepPolicy, "policy/extension-left-out", "the policy does not say which value", attest.Criterion[string]{}, "root"),
	}
}
