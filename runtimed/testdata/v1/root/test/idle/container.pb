
idle
forfixture*¸
6types.containerd.io/opencontainers/runtime-spec/1/Spec~{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":["/bin/sh"],"cwd":"/"},"root":{"path":"/"},"hostname":"idle"}