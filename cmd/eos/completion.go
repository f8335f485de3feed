package main

import (
	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish"}

func completionCmd(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "print a shell completion script",
		Long: `Print a script that completes eos commands, flags and files.

  bash   source <(eos completion bash)     with the package bash-completion
  zsh    eos completion zsh > "${fpath[1]}/_eos"
  fish   eos completion fish > ~/.config/fish/completions/eos.fish`,
		Args:      positional(1, "SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(u.stdout, true)
			case "zsh":
				return root.GenZshCompletion(u.stdout)
			case "fish":
				return root.GenFishCompletion(u.stdout, true)
			}
			return unknownWord("shell", args[0], shells, "eos completion knows bash, zsh and fish")
		},
	}
}

// completeFiles completes one kind of file for each argument, by extension
// without the dot; an empty one is any file. Behind the last there is nothing.
func completeFiles(exts ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) >= len(exts):
			return nil, cobra.ShellCompDirectiveNoFileComp
		case exts[len(args)] == "":
			return nil, cobra.ShellCompDirectiveDefault
		}
		return []string{exts[len(args)]}, cobra.ShellCompDirectiveFilterFileExt
	}
}

// completeFlagFiles says which files a flag takes.
func completeFlagFiles(cmd *cobra.Command, flag string, exts ...string) {
	if err := cmd.MarkFlagFilename(flag, exts...); err != nil {
		panic(err) // the flag has just been defined
	}
}

// completeFlagWords says which words a flag takes.
func completeFlagWords(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag has just been defined
	}
}
