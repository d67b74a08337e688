complete --keep-order --exclusive --command kdir --arguments "(KDIR_COMPLETE=fish kdir -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
