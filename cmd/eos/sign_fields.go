package main

import (
	"os"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/spf13/cobra"
)

// fieldFlags are the flags of the fields of a SIGSTRUCT, as typed.
type fieldFlags struct {
	attributes, xfrm, miscselect, cet     string
	debug, allowDebug, forbidDebug, bit32 bool
	kss                                   bool
	requireXFRM, allowXFRM                string
	isvprodid, isvsvn, swdefined, vendor  string
	isvextprodid, isvfamilyid             string
	date                                  string
}

func (f *fieldFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVarP(&f.debug, "debug", "d", false, "set DEBUG: eos run starts it as a debug enclave")
	fl.BoolVar(&f.allowDebug, "allow-debug", false, "the same in words")
	fl.BoolVar(&f.forbidDebug, "forbid-debug", false, "the processor refuses to start it as a debug enclave")
	fl.StringVar(&f.requireXFRM, "require-xfrm", "", "processor `FEATURES` that must be on: avx, avx512, pkru, amx")
	fl.StringVar(&f.allowXFRM, "allow-xfrm", "", "processor `FEATURES` that may be on")
	fl.StringVarP(&f.isvprodid, "isvprodid", "p", "", "ISVPRODID, the product, a `NUMBER` (16 bits)")
	fl.StringVarP(&f.isvsvn, "isvsvn", "v", "", "ISVSVN, the security version, a `NUMBER` (16 bits)")
	fl.StringVar(&f.isvextprodid, "isvextprodid", "", "ISVEXTPRODID, an `ID` of 32 hex digits; implies --kss")
	fl.StringVar(&f.isvfamilyid, "isvfamilyid", "", "ISVFAMILYID, an `ID` of 32 hex digits; implies --kss")
	fl.BoolVar(&f.kss, "kss", false, "require key separation and sharing")
	fl.StringVarP(&f.attributes, "attributes", "a", "", "ATTRIBUTES.FLAGS as `VALUE[/MAY]`")
	fl.StringVarP(&f.xfrm, "xfrm", "x", "", "ATTRIBUTES.XFRM as `VALUE[/MAY]`")
	fl.StringVarP(&f.miscselect, "miscselect", "m", "", "MISCSELECT as `VALUE[/MAY]`")
	fl.StringVar(&f.cet, "cet", "", "CET_ATTRIBUTES as `VALUE[/MAY]`")
	fl.BoolVar(&f.bit32, "32", false, "a 32-bit enclave: MODE64BIT must be off")
	fl.StringVarP(&f.swdefined, "swdefined", "s", "", "SWDEFINED, a `NUMBER` (32 bits)")
	fl.StringVar(&f.vendor, "vendor", "", "`VENDOR`: 0 or intel (0x8086)")
	fl.StringVar(&f.date, "date", "", "`DATE` as YYYYMMDD or YYYY-MM-DD")
	words := []string{"avx", "avx512", "pkru", "amx"}
	completeFlagWords(cmd, "require-xfrm", words...)
	completeFlagWords(cmd, "allow-xfrm", words...)
	for _, name := range []string{"attributes", "xfrm", "miscselect", "cet", "isvprodid", "isvsvn", "isvextprodid", "isvfamilyid", "swdefined", "vendor", "date"} {
		completeFlagWords(cmd, name)
	}
}

func (f *fieldFlags) check(*cobra.Command) error {
	if f.forbidDebug && (f.debug || f.allowDebug) {
		return usagef("--forbid-debug and --%s contradict each other", map[bool]string{true: "debug", false: "allow-debug"}[f.debug])
	}
	return nil
}

// apply sets the fields of s that have been given: first whole fields, then
// the words that change bits of them.
func (f *fieldFlags) apply(cmd *cobra.Command, s *sgx.SigStruct) error {
	for _, set := range []struct {
		flag  string
		value string
		parse func(string) error
	}{
		{"attributes", f.attributes, func(v string) (err error) {
			s.Attributes.Flags, s.AttributeMask.Flags, err = sign.ParseFlags(v)
			return err
		}},
		{"xfrm", f.xfrm, func(v string) (err error) {
			s.Attributes.XFRM, s.AttributeMask.XFRM, err = sign.ParseXFRM(v)
			return err
		}},
		{"miscselect", f.miscselect, func(v string) (err error) {
			s.MiscSelect, s.MiscMask, err = sign.ParseMiscSelect(v)
			return err
		}},
		{"cet", f.cet, func(v string) error {
			attributes, mask, err := sign.ParseCET(v)
			if err == nil {
				sign.SetCET(s, attributes, mask)
			}
			return err
		}},
		{"require-xfrm", f.requireXFRM, func(v string) error {
			x, err := sign.ParseFeatures(v)
			sign.RequireXFRM(s, x)
			return err
		}},
		{"allow-xfrm", f.allowXFRM, func(v string) error {
			x, err := sign.ParseFeatures(v)
			sign.AllowXFRM(s, x)
			return err
		}},
		{"isvprodid", f.isvprodid, number(16, func(n uint64) { s.ISVProdID = uint16(n) })},
		{"isvsvn", f.isvsvn, number(16, func(n uint64) { s.ISVSVN = uint16(n) })},
		{"swdefined", f.swdefined, number(32, func(n uint64) { s.SWDefined = uint32(n) })},
		{"vendor", f.vendor, func(v string) error {
			if v == "intel" {
				s.Vendor = sgx.VendorIntel
				return nil
			}
			return number(32, func(n uint64) { s.Vendor = uint32(n) })(v)
		}},
		{"isvextprodid", f.isvextprodid, id(func(b [16]byte) { sign.SetISVExtProdID(s, b) })},
		{"isvfamilyid", f.isvfamilyid, id(func(b [16]byte) { sign.SetISVFamilyID(s, b) })},
		{"date", f.date, func(v string) (err error) {
			s.Date, err = sign.ParseDate(v)
			return err
		}},
	} {
		if !cmd.Flags().Changed(set.flag) {
			continue
		}
		if err := set.parse(set.value); err != nil {
			return usagef("--%s: %w", set.flag, err)
		}
	}
	if !cmd.Flags().Changed("date") {
		date, err := sign.Date(os.LookupEnv)
		if err != nil {
			return err
		}
		s.Date = date
	}
	switch {
	case f.debug || f.allowDebug:
		sign.AllowDebug(s)
	case f.forbidDebug:
		sign.ForbidDebug(s)
	}
	if f.bit32 {
		sign.Require32Bit(s)
	}
	if f.kss {
		sign.RequireKSS(s)
	}
	if u := s.Attributes.Flags &^ knownFlags; u != 0 {
		return usagef("--attributes: the processor reserves the bits %#x", uint64(u))
	}
	if u := s.MiscSelect &^ (sgx.MiscEXINFO | sgx.MiscCPINFO); u != 0 {
		return usagef("--miscselect: the processor reserves the bits %#x", uint32(u))
	}
	return nil
}

const knownFlags = sgx.AttrInit | sgx.AttrDebug | sgx.AttrMode64Bit | sgx.AttrProvisionKey | sgx.AttrEInitTokenKey |
	sgx.AttrCET | sgx.AttrKSS | sgx.AttrAEXNotify

func number(bits int, set func(uint64)) func(string) error {
	return func(v string) error {
		n, err := sign.ParseNumber(v, bits)
		if err == nil {
			set(n)
		}
		return err
	}
}

func id(set func([16]byte)) func(string) error {
	return func(v string) error {
		b, err := sign.ParseID(v)
		if err != nil {
			return err
		}
		set(b)
		return nil
	}
}
