extension Checkpoint {
    /// SHA-256 that identifies config and weights together: two checkpoints of equal digest compute the same.
    ///
    /// It covers the bytes of `config.json` and of each safetensors file, by name. What a file's digest was is
    /// remembered in `$SHOAL_CACHE`, `$XDG_CACHE_HOME/shoal` or `~/.cache/shoal`, by the file's identity, size and
    /// times, because reading 13 GB takes seconds; a cache that cannot be used only costs that time.
    /// - Parameter progress: called with bytes done and in total, from the calling thread.
    /// - Throws: ``CheckpointError`` when a file cannot be read, or is changed meanwhile.
    public func digest(progress: ((_ done: Int, _ total: Int) -> Void)? = nil) throws -> [UInt8] {
        try digest(cache: DigestCache(), progress: progress)
    }

    /// The same with a cache of one's own.
    package func digest(
        cache: DigestCache, progress: ((_ done: Int, _ total: Int) -> Void)? = nil
    ) throws -> [UInt8] {
        let total = files.totalSize
        var whole = SHA256()
        whole.update("config.json \(hexadecimal(configDigest))\n")
        var done = 0
        for file in files.files {
            let start = done
            let digest = try file.digest(cache: cache) { count in
                done += count
                progress?(done, total)
            }
            done = start + file.identity.size
            progress?(done, total)
            whole.update("\(file.name) \(hexadecimal(digest))\n")
        }
        return whole.finish()
    }
}
