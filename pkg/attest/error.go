package attest

import "strings"

// A Step names a layer of verification or appraisal. The names are stable:
// test vectors and scripts refer to them.
type Step string

// The steps in the order in which they are done.
const (
	StepQuote          Step = "quote"           // the bytes are no quote of a kind that we read
	StepCollateral     Step = "collateral"      // collateral is missing or cannot be read
	StepPCKChain       Step = "pck-chain"       // PCK leaf to a pinned root: order, roles, signatures, dates
	StepPCKExtensions  Step = "pck-extensions"  // the SGX extension of the PCK leaf
	StepTCBChain       Step = "tcb-chain"       // signing certificate of TCB info and QE identity to the root
	StepRootCRL        Step = "root-crl"        // the root's CRL: signature, dates
	StepPCKCRL         Step = "pck-crl"         // the PCK CA's CRL: signature, dates
	StepRevocation     Step = "revocation"      // a certificate is on a CRL
	StepQEReport       Step = "qe-report"       // signature of the PCK key over the QE's report
	StepQEBinding      Step = "qe-binding"      // hash of the attestation key in the QE's report
	StepQuoteSignature Step = "quote-signature" // signature of the attestation key over the quote
	StepTCBInfo        Step = "tcb-info"        // signature, form, dates, FMSPC, PCE id
	StepQEIdentity     Step = "qe-identity"     // signature, form, dates; the QE is the one it describes
	StepCollateralAge  Step = "collateral-age"  // still valid, yet older than the caller allows
	StepTDXModule      Step = "tdx-module"      // the TDX module is one that TCB info describes
	StepTCBLevel       Step = "tcb-level"       // no TCB level matches, or the level is revoked
	StepBinding        Step = "binding"         // the quote's report data does not bind the key it came with

	StepPolicy           Step = "policy"            // the policy itself accepts nothing
	StepPolicyTEE        Step = "policy-tee"        // SGX or TDX not accepted
	StepPolicyRoot       Step = "policy-root"       // root not accepted
	StepPolicyDebug      Step = "policy-debug"      // debug enclave or TD
	StepPolicyAttributes Step = "policy-attributes" // attribute bits
	StepPolicyMREnclave  Step = "policy-mrenclave"
	StepPolicyMRSigner   Step = "policy-mrsigner"
	StepPolicyISVProdID  Step = "policy-isvprodid"
	StepPolicyISVSVN     Step = "policy-isvsvn"
	StepPolicyMRTD       Step = "policy-mrtd"
	StepPolicyRTMR       Step = "policy-rtmr"
	StepPolicyTCB        Step = "policy-tcb"       // status, advisories, until-date
	StepPolicyExtension  Step = "policy-extension" // certificate extensions by OID
)

var stepTitles = map[Step]string{
	StepQuote: "form of the quote", StepCollateral: "collateral is there", StepPCKChain: "PCK certificate chain to a trusted root",
	StepPCKExtensions: "platform description in the PCK certificate", StepTCBChain: "certificate that signs the collateral",
	StepRootCRL: "revocation list of the root", StepPCKCRL: "revocation list of the PCK CA", StepRevocation: "no certificate is revoked",
	StepQEReport: "signature over the quoting enclave's report", StepQEBinding: "attestation key belongs to the quoting enclave",
	StepQuoteSignature: "signature over the quote", StepTCBInfo: "TCB info of this platform", StepQEIdentity: "identity of the quoting enclave",
	StepCollateralAge: "age of the collateral", StepTDXModule: "identity of the TDX module", StepTCBLevel: "TCB level of the platform",
	StepBinding: "quote belongs to this key", StepPolicy: "policy is complete", StepPolicyTEE: "kind of enclave", StepPolicyRoot: "accepted root",
	StepPolicyDebug: "not debug", StepPolicyAttributes: "attributes", StepPolicyMREnclave: "MRENCLAVE", StepPolicyMRSigner: "MRSIGNER",
	StepPolicyISVProdID: "ISVPRODID", StepPolicyISVSVN: "ISVSVN", StepPolicyMRTD: "MRTD", StepPolicyRTMR: "RTMRs",
	StepPolicyTCB: "TCB status and advisories", StepPolicyExtension: "extensions of the certificate",
}

// Title names the step for people, as what holds if it passed.
func (s Step) Title() string {
	if t := stepTitles[s]; t != "" {
		return t
	}
	return string(s)
}

// Steps returns the steps of a verification of a quote of this kind, in
// order: what Result.Passed is when nothing failed.
func Steps(t TEE) []Step {
	var steps []Step
	for _, s := range verifySteps {
		if s != StepTDXModule || t == TDX {
			steps = append(steps, s)
		}
	}
	return steps
}

// Error says which step refused and why. Want and Got are what the step
// compared, in words or hex, and may be empty; Hint says what to do.
type Error struct {
	Step Step
	What string // the thing that is wrong, in a few words
	Want string
	Got  string
	Hint string
	Err  error // the cause, if another package gave one
}

// Error returns one line without the hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("attest: ")
	b.WriteString(string(e.Step))
	b.WriteString(": ")
	b.WriteString(e.What)
	if e.Want != "" || e.Got != "" {
		b.WriteString(": want ")
		b.WriteString(e.Want)
		b.WriteString(", got ")
		b.WriteString(e.Got)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
