package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/spf13/cobra"
)

// configFlags are the fields of the SECS that its signature leaves to who starts
// an enclave.
type configFlags struct{ id, svn string }

func (f *configFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.id, "config-id", "", "CONFIGID, an `ID` of at most 128 hex digits, zeros behind it")
	fl.StringVar(&f.svn, "config-svn", "", "CONFIGSVN, a `NUMBER` of 16 bits")
	completeFlagWords(cmd, "config-id")
	completeFlagWords(cmd, "config-svn")
}

// options reads the flags.
func (f *configFlags) options() (o runner.LoadOptions, err error) {
	if f.id != "" {
		b, err := hex.DecodeString(strings.TrimPrefix(f.id, "0x"))
		if err != nil || len(b) > len(o.ConfigID) {
			return o, usagef("--config-id: %q is not an even number of hex digits, at most %d", f.id, 2*len(o.ConfigID))
		}
		copy(o.ConfigID[:], b)
	}
	if f.svn != "" {
		n, err := sign.ParseNumber(f.svn, 16)
		if err != nil {
			return o, usagef("--config-svn: %w", err)
		}
		o.ConfigSVN = uint16(n)
	}
	return o, nil
}

// checkConfig says in words for people what ECREATE would refuse.
func checkConfig(path string, o runner.LoadOptions, sig *sgx.SigStruct) error {
	if (o.ConfigID == [64]byte{} && o.ConfigSVN == 0) || sig.Attributes.Flags&sgx.AttrKSS != 0 {
		return nil
	}
	return withHint(fmt.Errorf("%s: --config-id and --config-svn want an enclave with key separation and sharing (KSS)", path),
		"eos sign --kss %s signs it so", path)
}
