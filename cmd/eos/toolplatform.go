package main

import "github.com/enclaveos/eos/cmd/eos/edptool"

func init() {
	// ftxsgx-runner has no flag for it: the platform is that of a plain eos run.
	edptool.OpenPlatform = (&platformFlags{name: "auto"}).open
}
