"""What runs inside the sandbox, as the package `inside`.

The folder is mounted read-only into the sandbox. It imports the standard library, its own
siblings and, in `shell`, the ipykernel it becomes; nothing of the host's side.
"""
