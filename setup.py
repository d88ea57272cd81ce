"""How a wheel is built: the package `onoma`, of onoma.py, stages/ and the model in data/onnx.

In site-packages a folder called stages would say nothing. In a checkout DVC runs `python -m
stages.train`, so an editable install (pip install -e) keeps the names of the files.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

MODEL = Path("data/onnx")


class Rename(bdist_wheel):
    """Rename the package `stages` to `onoma` in the metadata that setuptools packs."""

    def run(self) -> None:
        """Build the wheel."""
        whole = self.distribution
        packages = [name for name in whole.packages if name.split(".")[0] == "stages"]
        whole.packages, whole.py_modules = [onoma(name) for name in packages], []
        whole.package_dir = {"onoma": "stages"}
        whole.package_data = {onoma(name): files for name, files in whole.package_data.items()}
        whole.entry_points["console_scripts"] = ["onoma = onoma.commands.cli:main"]
        self.dist_info_dir = None  # made before this
        super().run()


class Rewrite(build_py):
    """Rename the package in the imports of the modules, and add the model."""

    def run(self) -> None:
        """Copy the files into the folder that is packed."""
        super().run()
        if self.editable_mode or self.distribution.package_dir != {"onoma": "stages"}:
            return
        folder = Path(self.build_lib, "onoma")
        shutil.copy("onoma.py", folder / "__init__.py")
        program = "import sys\n\nfrom stages.commands.cli import main\n\nsys.exit(main())\n"
        (folder / "__main__.py").write_text(program, encoding="utf-8")
        for path in folder.rglob("*.py"):
            path.write_text(onoma(path.read_text(encoding="utf-8")), encoding="utf-8")
        if MODEL.is_dir():
            shutil.copytree(MODEL, folder / "pretrained", dirs_exist_ok=True)


def onoma(text: str) -> str:
    """The name of a package, or the text of a module, as it is in site-packages."""
    return re.sub(r"(^|from |import |`)stages\b", r"\1onoma", text)


setup(cmdclass={"bdist_wheel": Rename, "build_py": Rewrite})
